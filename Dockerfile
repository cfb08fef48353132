# docker build -t vertebra .
# docker run --rm --gpus all --shm-size 8g -v "$PWD:/data" vertebra fit my_data
FROM python:3.11-slim
WORKDIR /opt/vertebra
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt ".[export]"
# runs/ and predictions/ are written to the mounted folder
WORKDIR /data
ENTRYPOINT ["vertebra"]
CMD ["--help"]
