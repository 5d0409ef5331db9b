from __future__ import annotations

import json
from collections import Counter
from typing import ClassVar

import networkx as nx
import numpy as np
import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nlp_recipes import KNOWN, LSTM, recipe

import parity
from contracts.space_contract import SpaceContract
from gennas_optuna.errors import GenNASError
from gennas_optuna.spaces import Scale, get_space

GENNAS = get_space("nasbench-nlp")
TRAINED = get_space("nasbench-nlp", form="trained")
SMALL = Scale(width=6, depth=2)

LINE = "h_new_0 = linear x h_prev_0"
MALFORMED = {
    '{"h_new_0": {"op": "conv", "input": ["x"]}}': "op 'conv'",
    '{"h_new_0": {"op": ["linear"], "input": ["x"]}}': "is not one of",
    '{"h_new_0": {"op": "linear", "input": "x"}}': "not a list",
    '{"h_new_0": {"op": "linear", "input": [["x"]]}}': "not a list",
    '{"h_new_0": {"op": "linear"}}': "h_new_0",
    '{"h_new_0": 1}': "h_new_0",
    '{"h_new_0": {"op": "linear", "input": ["x"]}, "h_new_0": {}}': "used twice",
    recipe("f = linear x h_prev_0"): "h_new",
    recipe("h_new_1 = linear x h_prev_0"): "no h_new_0",
    recipe(f"{LINE}; h_new_2 = linear x h_prev_0"): "no h_new_1",
    recipe("; ".join(f"h_new_{i} = linear x" for i in range(4))): "1 to 3",
    recipe(f"{LINE}; x = linear h_prev_0"): "'x'",
    recipe(f"{LINE}; h_prev_0 = linear x"): "'h_prev_0'",
    recipe("h_new_0 = linear x h_prev_1"): "h_prev_1",
    recipe("h_new_0 = linear x nowhere"): "nowhere",
    recipe("h_new_0 = linear"): "1 to 3 inputs",
    recipe("h_new_0 = linear x h_prev_0 a b; a = linear x; b = linear x"): "1 to 3 inputs",
    recipe("h_new_0 = linear x x"): "twice",
    recipe("h_new_0 = activation_tanh x"): "only linear nodes may read x",
    recipe("h_new_0 = activation_tanh a b; a = linear x; b = linear x"): "takes 1",
    recipe("h_new_0 = blend a a; a = linear x"): "takes 3",
    recipe("h_new_0 = elementwise_sum a; a = linear x"): "takes 2",
    recipe("h_new_0 = linear x a; a = activation_tanh h_new_0"): "cycle",
    recipe("h_new_0 = linear h_prev_0"): "depends on x",
    recipe("h_new_0 = linear h_prev_0; unused = linear x"): "depends on x",
    recipe(LINE + "".join(f"; n{i} = linear x" for i in range(24))): "at most 24",
    recipe("a = linear x; h_new_0 = elementwise_sum" + 30 * " a"): "30 inputs",
    recipe("a = linear x; h_new_0 = elementwise_sum" + 25 * " a"): "at most 24",
}


class TestNASBenchNLP(SpaceContract):
    space = GENNAS
    small = SMALL
    malformed: ClassVar = (*SpaceContract.malformed, *MALFORMED)
    untrained = (".recurrent",)  # weight drop keeps these as they are

    def inputs(self) -> torch.Tensor:
        return sequence(8, self.batch, 48)


class TestNASBenchNLPTrained(TestNASBenchNLP):
    space = TRAINED
    untrained = ()


def sequence(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def built(space, arch, **options):
    return space.build(arch, generator=torch.Generator().manual_seed(0), **options)


def logs() -> list[dict]:
    folder = parity.shared("benchmarks/nasbenchnlp")
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/*.json"))]


def samples(count: int) -> list:
    rng = np.random.default_rng(7)
    return [GENNAS.sample(rng) for _ in range(count)]


# Texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_wrong_is_said(text: str) -> None:
    with pytest.raises(GenNASError, match="not a NAS-Bench-NLP recipe") as info:
        GENNAS.parse(text)
    assert MALFORMED[text] in str(info.value)
    assert len(str(info.value)) < 400


def test_the_order_of_the_nodes_in_the_text_does_not_matter() -> None:
    nodes = json.loads(LSTM)
    backwards = json.dumps(dict(reversed(nodes.items())))
    assert GENNAS.parse(backwards) == GENNAS.parse(LSTM)
    assert json.loads(str(GENNAS.parse(LSTM))) == nodes


def test_sums_of_many_are_folded_from_the_left() -> None:
    many = "a = linear x; b = linear h_prev_0; h_new_0 = elementwise_sum a b a h_prev_0"
    few = (
        "a = linear x; b = linear h_prev_0; s = elementwise_sum a b; t = elementwise_sum s a;"
        "h_new_0 = elementwise_sum t h_prev_0"
    )
    assert GENNAS.parse(recipe(many)).key == GENNAS.parse(recipe(few)).key
    taken = recipe(many.replace("b", "h_new_0_part0"))
    assert GENNAS.parse(taken).key == GENNAS.parse(recipe(few)).key


@pytest.mark.parametrize("text", KNOWN.values(), ids=KNOWN)
def test_known_cells_are_parameters_too(text: str) -> None:
    arch = GENNAS.parse(text)
    assert GENNAS.decode(GENNAS.params(arch)).key == arch.key


def test_every_record_of_the_benchmark() -> None:
    """``num_params`` counts the recurrent layers, an embedding of 10,000 words and its bias."""
    for log in logs():
        arch = GENNAS.parse(log["recepie"])
        assert GENNAS.parse(str(arch)) == arch
        assert json.loads(str(arch)) == json.loads(log["recepie"])
        assert GENNAS.decode(GENNAS.params(arch)).key == arch.key
        assert GENNAS.mutate(arch, np.random.default_rng(0)).key != arch.key
        words = {"ptb": 10_000, "wikitext-2": 33_278}[log["data"].rstrip("/").split("/")[-1]]
        layers = parity.parameters(GENNAS.skeleton(arch).layers)
        assert layers + 400 * words + words == log["num_params"]


# Keys -----------------------------------------------------------------------------------------


def shuffled(text: str, rng: np.random.Generator) -> str:
    """The same cell in other words: names, node and input order, hidden states but the first."""
    nodes = json.loads(text)
    states = sum(f"h_new_{i}" in nodes for i in range(3))
    order = [0, *(1 + rng.permutation(states - 1))]
    names = {
        f"h_{kind}_{i}": f"h_{kind}_{order[i]}" for i in range(states) for kind in ("prev", "new")
    }
    fresh = iter(rng.permutation(100))
    for name in nodes:
        names.setdefault(name, f"v{next(fresh)}")
    result = {}
    for name in rng.permutation(list(nodes)):
        op, inputs = nodes[name]["op"], [names.get(i, i) for i in nodes[name]["input"]]
        if op != "blend":
            inputs = [str(i) for i in rng.permutation(inputs)]
        result[names[name]] = {"op": op, "input": inputs}
    return json.dumps(result)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_equal_cells_have_one_key_and_one_canonical_network(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arch = GENNAS.sample(rng)
    for _ in range(rng.integers(6)):
        arch = GENNAS.mutate(arch, rng)
    other = GENNAS.parse(shuffled(str(arch), rng))
    assert other.key == arch.key
    nets = [built(GENNAS, a, scale=SMALL, canonical=True).eval() for a in (arch, other)]
    with torch.no_grad():
        first, second = (net(sequence(4, 2, 48))[0] for net in nets)
    assert torch.equal(first, second)


def nx_graph(text: str) -> nx.DiGraph:
    """The cell as a labelled graph, with an edge from each new hidden state to the old one."""
    nodes = json.loads(text)
    drawn = nx.DiGraph()
    drawn.add_node("x", label="x")
    for name, node in nodes.items():
        drawn.add_node(name, label="output" + node["op"] if name == "h_new_0" else node["op"])
    for i in range(sum(f"h_new_{i}" in nodes for i in range(3))):
        drawn.add_node(f"h_prev_{i}", label="state 0" if i == 0 else "state")
        drawn.add_edge(f"h_new_{i}", f"h_prev_{i}", label="next")
    for name, node in nodes.items():
        for read in set(node["input"]):
            places = [i for i, other in enumerate(node["input"]) if other == read]
            label = places if node["op"] == "blend" else len(places)
            drawn.add_edge(read, name, label=str(label))
    used = nx.ancestors(drawn, "h_new_0") | {"h_new_0"}
    if "h_prev_0" not in used:  # only a state that is read counts as one
        drawn.nodes["h_new_0"]["label"] += " unread"
    return drawn.subgraph(used)


def repeats_a_value(text: str) -> bool:
    """Whether two nodes without weights compute the same: then one key covers several graphs."""
    nodes = [(n["op"], sorted(n["input"])) for n in json.loads(text).values()]
    return any(a == b and a[0] != "linear" for i, a in enumerate(nodes) for b in nodes[:i])


def check_keys_against_networkx(archs: list) -> tuple[int, int]:
    """Compare all pairs that a coarse hash does not tell apart; how many are equal, unequal."""
    groups: dict[str, list] = {}
    for arch in archs:
        drawn = nx_graph(str(arch))
        digest = str(sorted(Counter(nx.get_node_attributes(drawn, "label").values()).items()))
        groups.setdefault(digest, []).append((arch.key, drawn))
    equal = unequal = 0
    for members in groups.values():
        for i, (key, drawn) in enumerate(members):
            for other_key, other in members[:i]:
                same = nx.is_isomorphic(
                    drawn,
                    other,
                    node_match=lambda a, b: a["label"] == b["label"],
                    edge_match=lambda a, b: a["label"] == b["label"],
                )
                assert same == (key == other_key)
                equal, unequal = equal + same, unequal + (not same)
    return equal, unequal


def test_keys_are_equal_just_when_the_graphs_are_isomorphic() -> None:
    rng = np.random.default_rng(3)
    archs = samples(400) + [GENNAS.mutate(arch, rng) for arch in samples(400)]
    archs = [arch for arch in archs if not repeats_a_value(str(arch))]
    equal, unequal = check_keys_against_networkx(archs)
    assert equal > 100
    assert unequal > 100


def test_keys_of_the_benchmarks_records_against_isomorphism() -> None:
    texts = sorted({log["recepie"] for log in logs()})
    equal, unequal = check_keys_against_networkx([GENNAS.parse(text) for text in texts])
    assert equal > 10
    assert unequal > 10


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        # a node nobody needs, a hidden state that the output never depends on
        ("h_new_0 = linear x h_prev_0", "h_new_0 = linear x h_prev_0; b = linear x", True),
        ("h_new_0 = linear x h_prev_0", "h_new_0 = linear x h_prev_0; h_new_1 = linear x", True),
        # two linear nodes have two weights, two activations of one value are one value
        (
            "a = linear x; b = activation_tanh a; h_new_0 = elementwise_sum b b",
            "a = linear x; b = activation_tanh a; c = activation_tanh a;"
            "h_new_0 = elementwise_sum b c",
            True,
        ),
        (
            "a = linear x; h_new_0 = elementwise_sum a a",
            "a = linear x; b = linear x; h_new_0 = elementwise_sum a b",
            False,
        ),
        # who reads which of two equal linear nodes
        (
            "a = linear x; b = linear x; c = activation_tanh a; d = activation_sigm a;"
            "e = elementwise_prod c d; h_new_0 = elementwise_prod e b",
            "a = linear x; b = linear x; c = activation_tanh a; d = activation_sigm b;"
            "e = elementwise_prod c d; h_new_0 = elementwise_prod e b",
            False,
        ),
        # the order of a blend's inputs
        (
            "a = linear x h_prev_0; h_new_0 = blend a h_prev_0 a",
            "a = linear x h_prev_0; h_new_0 = blend a a h_prev_0",
            False,
        ),
        # the first hidden state is the output, the others are not
        (
            "h_new_0 = linear x h_prev_1; h_new_1 = activation_tanh h_new_0",
            "h_new_1 = linear x h_prev_0; h_new_0 = activation_tanh h_new_1",
            False,
        ),
        (
            "h_new_0 = linear h_prev_1 x h_prev_2; h_new_1 = linear x; h_new_2 = linear h_prev_1",
            "h_new_0 = linear h_prev_1 x h_prev_2; h_new_2 = linear x; h_new_1 = linear h_prev_2",
            True,
        ),
    ],
)
def test_what_makes_cells_equal(one: str, other: str, same: bool) -> None:
    assert (GENNAS.parse(recipe(one)).key == GENNAS.parse(recipe(other)).key) == same


def test_very_symmetric_cells_have_a_key_in_good_time() -> None:
    """Seven equal branches: 5,040 orders, which must not be tried one by one."""
    branches = [f"l{i} = linear x h_prev_0; a{i} = activation_tanh l{i}" for i in range(7)]
    sums = ["s1 = elementwise_sum a0 a1"]
    sums += [f"s{i} = elementwise_sum s{i - 1} a{i}" for i in range(2, 7)]
    text = recipe("; ".join([*branches, *sums, "h_new_0 = activation_tanh s6"]))
    rng = np.random.default_rng(0)
    assert len({GENNAS.parse(shuffled(text, rng)).key for _ in range(5)}) == 1


# Search moves ---------------------------------------------------------------------------------


def test_samples_are_as_the_publication_draws_them() -> None:
    sizes: Counter[int] = Counter()
    states = set()
    for arch in samples(300):
        nodes = json.loads(str(arch))
        hidden = [name for name in nodes if name.startswith("h_new")]
        states.add(len(hidden))
        assert len(nodes) <= len(hidden) + 8
        read = {i for node in nodes.values() for i in node["input"]}
        assert read >= {"x", *(name.replace("new", "prev") for name in hidden)}
        for name, node in nodes.items():
            if name.startswith("h_new"):
                assert not any(i.startswith("h_prev") for i in node["input"])
            if node["op"] == "linear":
                sizes[len(node["input"])] += 1
                for i in node["input"]:
                    assert i == "x" or i.startswith("h_prev") or "activation" in nodes[i]["op"]
    assert states == {1, 2, 3}
    assert sizes.keys() == {2, 3}
    assert 0.7 < sizes[2] / sizes.total() < 0.9


def test_mutations_keep_to_the_limits_and_neither_grow_nor_shrink_for_ever() -> None:
    rng = np.random.default_rng(1)
    archs = samples(60)
    for _ in range(30):
        archs = [GENNAS.mutate(arch, rng) for arch in archs]
    sizes = [len(json.loads(str(arch))) for arch in archs]
    assert max(sizes) <= 24
    assert 4 < np.mean(sizes) < 12


def test_tpe_searches_the_space() -> None:
    def size(trial: optuna.Trial) -> float:
        return abs(len(json.loads(str(GENNAS.suggest(trial)))) - 12)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=5))
    study.enqueue_trial(GENNAS.params(GENNAS.parse(LSTM)))
    study.optimize(size, n_trials=15)
    assert study.trials[0].value == 1
    assert all(trial.state.is_finished() for trial in study.trials)
