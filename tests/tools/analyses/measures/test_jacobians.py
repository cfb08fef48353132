import pytest
import torch

from vertebra.tools.analyses.measures.jacobians import top_singular


def linear(matrix):
    return lambda x: x.flatten(1) @ matrix.mT


def with_spectrum(values, size, seed=0):
    """A square matrix of known singular values, and its singular vectors."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0] for _ in "uv")
    spectrum = torch.cat([torch.as_tensor(values, dtype=torch.float64), torch.zeros(size - len(values))])
    return left @ spectrum.diag() @ right.mT, left, right


def test_singular_values_and_vectors_of_a_linear_function():
    matrix, left, right = with_spectrum([5, 3, 2, 1, 0.5], 48)
    points = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    found = top_singular(linear(matrix), points, k=3, tolerance=1e-10)
    torch.testing.assert_close(found.values, torch.tensor([[5, 3, 2.0]] * 2, dtype=torch.float64))
    for vectors, true in ((found.left, left), (found.right, right)):
        cosines = (vectors.mT @ true[:, :3]).abs()
        torch.testing.assert_close(cosines, torch.eye(3, dtype=torch.float64).expand(2, 3, 3), atol=1e-5, rtol=0)
    # the signs of a pair belong together
    torch.testing.assert_close(matrix @ found.right[0], found.left[0] * found.values[0], atol=1e-5, rtol=0)


def test_the_jacobian_is_that_at_each_point():
    # J of x^2 is diag(2 x)
    points = torch.tensor([[1.0, -3, 2], [0.5, 0.25, 4]])
    found = top_singular(torch.square, points, k=2, tolerance=1e-6)
    torch.testing.assert_close(found.values, torch.tensor([[6.0, 4], [8, 1]]))
    torch.testing.assert_close(found.right[:, :, 0].abs(), torch.tensor([[0, 1.0, 0], [0, 0, 1]]), atol=1e-3, rtol=0)


def test_a_jacobian_that_is_not_square():
    matrix = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    found = top_singular(linear(matrix), torch.zeros(1, 12), k=5, tolerance=1e-7, max_iterations=300)
    torch.testing.assert_close(found.values[0], torch.linalg.svdvals(matrix), atol=1e-3, rtol=1e-3)
    assert (found.left.shape, found.right.shape) == ((1, 5, 5), (1, 12, 5))


def test_a_function_of_constant_output_has_zeros():
    found = top_singular(lambda x: x * 0, torch.ones(1, 6), k=2)
    assert found.values.tolist() == [[0, 0]]


@pytest.mark.parametrize("k", [0, 7])
def test_more_singular_values_than_there_are(k):
    with pytest.raises(ValueError, match=f"k is {k}, but the Jacobian is 6 x 6; choose from 1 to 6"):
        top_singular(torch.square, torch.ones(1, 6), k=k)
