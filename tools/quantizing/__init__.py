"""Post-training quantization of exported ONNX files to int8."""
