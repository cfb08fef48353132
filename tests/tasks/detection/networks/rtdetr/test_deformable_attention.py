import math

import pytest
import torch

from vertebra.tasks.detection.networks.rtdetr.deformable_attention import DeformableAttention

GRIDS = ((4, 6), (2, 3))


@pytest.fixture
def attention():
    torch.manual_seed(0)
    attention = DeformableAttention(8, num_heads=2, num_levels=2, num_points=3)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return attention


def read(pixels, x, y):
    """Read a map (H, W, C) at a place in pixels, whose centers are at .5, by the bilinear rule; zero outside."""
    height, width, _ = pixels.shape
    x, y, total = x - 0.5, y - 0.5, torch.zeros(pixels.shape[2])
    for column in (math.floor(x), math.floor(x) + 1):
        for row in (math.floor(y), math.floor(y) + 1):
            if 0 <= column < width and 0 <= row < height:
                total = total + (1 - abs(x - column)) * (1 - abs(y - row)) * pixels[row, column]
    return total


def by_the_formula(attention, queries, references, values, grids):
    """Equation 3 of the paper, number by number, for boxes as references."""
    heads, levels, points = attention.shape
    values = attention.value_proj(values)
    offsets = attention.sampling_offsets(queries).unflatten(-1, (heads, levels, points, 2))
    weights = attention.attention_weights(queries).unflatten(-1, (heads, -1)).softmax(-1).unflatten(-1, (levels, -1))
    found = torch.zeros_like(queries)
    width = queries.shape[-1] // heads
    for image in range(len(queries)):
        maps = [
            part.unflatten(0, grid)
            for part, grid in zip(values[image].split([h * w for h, w in grids]), grids, strict=True)
        ]
        for query in range(queries.shape[1]):
            x, y, w, h = references[image, query].tolist()
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                for level in range(levels):
                    for point in range(points):
                        dx, dy = offsets[image, query, head, level, point].tolist()
                        place = x + dx / points * w / 2, y + dy / points * h / 2
                        value = read(maps[level][..., part], place[0] * grids[level][1], place[1] * grids[level][0])
                        found[image, query, part] += weights[image, query, head, level, point] * value
    return attention.output_proj(found)


def test_it_is_the_formula(attention):
    queries, values = torch.randn(2, 5, 8), torch.randn(2, 30, 8)
    references = torch.rand(2, 5, 4)
    with torch.no_grad():
        expected = by_the_formula(attention, queries, references, values, GRIDS)
        found = attention(queries, references, values, GRIDS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_heads_start_in_directions_of_their_own():
    fresh = DeformableAttention(8, num_heads=4, num_levels=2, num_points=3)
    offsets = fresh.sampling_offsets.bias.view(4, 2, 3, 2)
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    for point in range(3):
        torch.testing.assert_close(offsets[:, 1, point], expected * (point + 1), atol=1e-6, rtol=0)


def test_bfloat16_is_near_and_finite(attention):
    queries, values, references = torch.randn(1, 5, 8), torch.randn(1, 30, 8), torch.rand(1, 5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention(queries, references, values, GRIDS)
    torch.testing.assert_close(found.float(), attention(queries, references, values, GRIDS), atol=0.1, rtol=0.1)
