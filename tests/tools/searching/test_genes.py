"""Genes of networks: what a mutation and a cross change, and that children stay within limits."""

import random

import pytest

from vertebra.backbones.resnet_spelled import ResNetDesign
from vertebra.tools.searching.candidate import Limits
from vertebra.tools.searching.genes import GenePool
from vertebra.tools.searching.space import Space

POOL = GenePool(("small", "plain", "deep"), 3, (20, 24, 32))


def flat(genes):
    return [x for gene in genes for x in (gene if isinstance(gene, tuple) else (gene,))]


def test_a_mutation_changes_one_number_and_reaches_every_gene():
    rng, changed = random.Random(0), set()
    for _ in range(300):
        genes = POOL.draw(rng)
        before, after = flat(genes), flat(POOL.mutate(genes, rng))
        places = [place for place, (x, y) in enumerate(zip(before, after, strict=True)) if x != y]
        assert len(places) == 1
        changed |= set(places)
        if isinstance(before[places[0]], int) and 3 <= places[0] <= 5:
            assert abs(before[places[0]] - after[places[0]]) == 1  # depths
    assert changed == set(range(len(before)))


def test_a_cross_takes_each_number_from_a_parent():
    rng, mixed = random.Random(0), 0
    for _ in range(50):
        first, second = POOL.draw(rng), POOL.draw(rng)
        child = flat(POOL.cross(first, second, rng))
        assert all(x in pair for x, *pair in zip(child, flat(first), flat(second), strict=True))
        mixed += child not in (flat(first), flat(second))
        assert POOL.cross(first, first, rng) == first
    assert mixed > 40


def test_genes_are_read_from_a_name():
    rng = random.Random(0)
    for _ in range(50):
        genes = POOL.draw(rng)
        design = genes.design(16)  # wide enough that rounding changes no growth
        assert POOL.read(design.name, genes.size, genes.share) == genes
    handmade = ResNetDesign("small", "basic", (3, 3, 3), (15, 30, 60))
    assert POOL.read(handmade.name, 32, 1.0).growths == (2.0, 2.0)


@pytest.mark.parametrize("side", [8, 32, 96])
def test_children_of_children_stay_within_the_limit(side, quick_count):
    budget = 40_000 * side**2
    space, rng = Space(side, Limits(budget)), random.Random(0)
    parents = [space.draw(rng), space.draw(rng)]
    names = set()
    for number in range(100):
        child = space.child(parents[: 1 + number % 2], rng)
        design = ResNetDesign.parse(child.name.removeprefix("resnet:"))
        assert budget / 4 <= child.macs <= budget
        assert child.size in space.pool.sizes
        assert design.stem in space.pool.stems
        assert len(design.depths) == space.pool.stages
        assert max(design.depths) <= 5
        parents = [child, parents[0]]
        names.add(child.name)
    assert len(names) > 50


def test_tasks_other_than_classification_have_strided_networks_of_four_stages():
    pool = Space(32, Limits(1), dense=True).pool
    assert pool.stages == 4
    assert pool.stems == ("plain", "deep")
