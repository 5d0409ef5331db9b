"""Networks of the NDS cell spaces that several tests take."""

from __future__ import annotations

import json
from typing import Any

import torch

from gennas_optuna.spaces import Scale, get_space

SMALL = Scale(width=4, depth=5)

# Records 0 of the benchmark's files: (file, space, net, params with a 1000-class linear layer).
RECORDS = [
    (
        "DARTS_in.json",
        "darts-in",
        '{"aux":false,"depth":14,"drop_prob":0.0,"genotype":{"normal":[["none",0],'
        '["max_pool_3x3",0],["skip_connect",0],["avg_pool_3x3",0],["max_pool_3x3",2],'
        '["sep_conv_5x5",0],["max_pool_3x3",1],["avg_pool_3x3",3]],"normal_concat":[2,3,4,5],'
        '"reduce":[["none",0],["sep_conv_5x5",1],["max_pool_3x3",0],["skip_connect",1],'
        '["avg_pool_3x3",1],["none",0],["none",1],["max_pool_3x3",0]],'
        '"reduce_concat":[2,3,4,5]},"width":48}',
        3_041_248,
    ),
    (
        "DARTS_fix-w-d_in.json",
        "darts-fix-w-d-in",
        '{"aux":false,"depth":22,"drop_prob":0.0,"genotype":{"normal":[["avg_pool_3x3",1],'
        '["sep_conv_3x3",1],["sep_conv_5x5",1],["dil_conv_5x5",1],["none",0],["dil_conv_3x3",2],'
        '["dil_conv_3x3",2],["sep_conv_3x3",1]],"normal_concat":[2,3,4,5],"reduce":['
        '["sep_conv_3x3",0],["dil_conv_3x3",0],["skip_connect",0],["dil_conv_3x3",0],["none",1],'
        '["dil_conv_5x5",1],["dil_conv_3x3",4],["skip_connect",4]],"reduce_concat":[2,3,4,5]},'
        '"width":32}',
        3_435_864,
    ),
    (
        "ENAS_in.json",
        "enas-in",
        '{"aux":false,"depth":14,"drop_prob":0.0,"genotype":{"normal":[["sep_conv_3x3",0],'
        '["avg_pool_3x3",1],["skip_connect",2],["sep_conv_5x5",0],["max_pool_3x3",3],'
        '["sep_conv_3x3",2],["skip_connect",3],["sep_conv_5x5",4],["max_pool_3x3",5],'
        '["sep_conv_5x5",5]],"normal_concat":[6],"reduce":[["max_pool_3x3",1],["avg_pool_3x3",0],'
        '["avg_pool_3x3",1],["sep_conv_5x5",0],["sep_conv_5x5",0],["sep_conv_3x3",0],'
        '["sep_conv_3x3",2],["sep_conv_5x5",2],["sep_conv_5x5",2],["avg_pool_3x3",3]],'
        '"reduce_concat":[4,5,6]},"width":32}',
        1_752_376,
    ),
    (
        "PNAS_in.json",
        "pnas-in",
        '{"aux":false,"depth":10,"drop_prob":0.0,"genotype":{"normal":[["dil_conv_3x3",1],'
        '["dil_conv_3x3",0],["max_pool_3x3",2],["sep_conv_5x5",1],["avg_pool_3x3",0],'
        '["avg_pool_3x3",3],["skip_connect",4],["max_pool_3x3",1],["max_pool_3x3",5],'
        '["avg_pool_3x3",1]],"normal_concat":[2,3,4,5,6],"reduce":[["dil_conv_3x3",0],'
        '["dil_conv_3x3",1],["avg_pool_3x3",2],["avg_pool_3x3",0],["avg_pool_3x3",3],'
        '["dil_conv_3x3",1],["skip_connect",2],["sep_conv_7x7",4],["sep_conv_7x7",1],'
        '["sep_conv_3x3",2]],"reduce_concat":[2,3,4,5,6]},"width":32}',
        1_823_608,
    ),
    (
        "Amoeba_in.json",
        "amoeba-in",
        '{"aux":false,"depth":10,"drop_prob":0.0,"genotype":{"normal":[["skip_connect",0],'
        '["max_pool_3x3",0],["sep_conv_5x5",0],["sep_conv_3x3",1],["sep_conv_5x5",3],'
        '["sep_conv_5x5",0],["max_pool_3x3",2],["sep_conv_7x7",3],["conv_7x1_1x7",3],'
        '["dil_sep_conv_3x3",0]],"normal_concat":[4,5,6],"reduce":[["skip_connect",1],'
        '["sep_conv_7x7",1],["max_pool_3x3",2],["skip_connect",1],["conv_7x1_1x7",0],'
        '["avg_pool_3x3",3],["avg_pool_3x3",1],["max_pool_3x3",1],["sep_conv_7x7",2],'
        '["skip_connect",0]],"reduce_concat":[4,5,6]},"width":32}',
        3_019_768,
    ),
    (
        "NASNet_in.json",
        "nasnet-in",
        '{"aux":false,"depth":6,"drop_prob":0.0,"genotype":{"normal":[["dil_conv_3x3",1],'
        '["sep_conv_7x7",1],["sep_conv_5x5",2],["dil_conv_3x3",0],["max_pool_3x3",3],'
        '["max_pool_7x7",2],["conv_3x1_1x3",2],["conv_1x1",0],["conv_7x1_1x7",2],'
        '["skip_connect",1]],"normal_concat":[4,5,6],"reduce":[["max_pool_7x7",1],["conv_3x3",0],'
        '["sep_conv_5x5",2],["skip_connect",0],["max_pool_7x7",0],["max_pool_7x7",3],'
        '["dil_conv_3x3",3],["conv_7x1_1x7",3],["dil_conv_3x3",0],["avg_pool_3x3",2]],'
        '"reduce_concat":[4,5,6]},"width":48}',
        3_724_192,
    ),
]
NET = RECORDS[0][2]


def built(space: Any, arch: Any, **options: Any) -> Any:
    return space.build(arch, generator=torch.Generator().manual_seed(0), **options)


def darts(normal: str, **fields: Any) -> Any:
    """A DARTS architecture whose normal cell is given as ``op source op source ...``."""
    words = normal.split()
    net = json.loads(NET)
    net["genotype"]["normal"] = [
        [op, int(source)] for op, source in zip(words[::2], words[1::2], strict=True)
    ]
    net["genotype"]["normal_concat"] = fields.pop("concat", [2, 3, 4, 5])
    return get_space("darts").parse(json.dumps({**net, **fields}))


REST = "skip_connect 2 none 0 sep_conv_3x3 3 none 1 max_pool_3x3 4 skip_connect 0"
