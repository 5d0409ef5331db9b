"""Recipes of NAS-Bench-NLP that tests and measurements use."""

from __future__ import annotations

import json


def recipe(text: str) -> str:
    """JSON of lines such as ``r = linear x h_prev_0``."""
    nodes = {}
    for line in text.split(";"):
        name, _, op, *inputs = line.split()
        nodes[name] = {"op": op, "input": inputs}
    return json.dumps(nodes)


RNN = recipe("f = linear x h_prev_0; h_new_0 = activation_tanh f")
GRU = recipe(
    "r = linear x h_prev_0; r_act = activation_sigm r; z = linear x h_prev_0;"
    "z_act = activation_sigm z; rh = elementwise_prod r_act h_prev_0; c = linear x rh;"
    "c_act = activation_tanh c; h_new_0 = blend z_act h_prev_0 c_act"
)
LSTM = recipe(
    "i = linear x h_prev_0; i_act = activation_tanh i; j = linear x h_prev_0;"
    "j_act = activation_sigm j; f = linear x h_prev_0; f_act = activation_sigm f;"
    "o = linear x h_prev_0; o_act = activation_tanh o; a = elementwise_prod f_act h_prev_1;"
    "b = elementwise_prod i_act j_act; h_new_1 = elementwise_sum a b;"
    "h_new_1_act = activation_tanh h_new_1; h_new_0 = elementwise_prod h_new_1_act o_act"
)
# Every operation, linear nodes of one to three inputs with and without x, two hidden states.
EVERYTHING = recipe(
    "a = linear x; b = activation_leaky_relu a; c = linear h_prev_1 b; d = activation_sigm c;"
    "e = linear d x h_prev_0; f = elementwise_sum e h_prev_0; h_new_1 = elementwise_prod f d;"
    "g = activation_tanh h_new_1; h_new_0 = blend d g h_prev_1"
)
# A record of the benchmark (recepie_id 2000593) whose output never depends on x.
BLIND = recipe(
    "node_0 = linear h_prev_0 h_prev_1; node_2 = blend h_prev_0 h_prev_2 h_new_0;"
    "node_5 = linear x h_prev_1; node_6 = activation_sigm node_5;"
    "node_10 = linear h_new_0 h_prev_0; h_new_0 = activation_tanh node_0;"
    "h_new_1 = activation_sigm node_10; h_new_2 = elementwise_prod node_6 node_2"
)
KNOWN = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM, "EVERYTHING": EVERYTHING, "BLIND": BLIND}
