"""read_gguf.py LIST: reads each GGUF file of LIST (lines: gptq directory, gguf directory) with the gguf package, dequantizes every tensor and compares with the values of the gptq
directory's words, unpacked here with numpy; the tokens with tokenizer.json. One line per file: "ok TEXT" or "not_ok TEXT". SPDX-License-Identifier: Apache-2.0"""
import json
import os
import re
import sys

import numpy as np
from gguf import GGUFReader, dequantize
from safetensors import safe_open

from experts import weight

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "mlp.experts.gate_proj": "ffn_gate_exps", "mlp.experts.up_proj": "ffn_up_exps", "mlp.experts.down_proj": "ffn_down_exps",
         "block_sparse_moe.experts.w1": "ffn_gate_exps", "block_sparse_moe.experts.w3": "ffn_up_exps", "block_sparse_moe.experts.w2": "ffn_down_exps"}


def permuted(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(w.shape)


def one(source, directory):
    config = json.load(open(os.path.join(source, "config.json")))
    q = config["quantization_config"]
    reader = GGUFReader(os.path.join(directory, "model.gguf"))
    tensors = {t.name: t for t in reader.tensors}
    exact, worst, steps, types, seen = True, 0.0, 0.0, set(), set()
    with safe_open(os.path.join(source, "model.safetensors"), "np") as f:
        modules = [k[:-8] for k in f.keys() if k.endswith(".qweight")]
        for m in modules:
            block, name = re.match(r"model\.layers\.(\d+)\.(.*)", m).groups()
            expert = re.search(r"\.(\d+)\.", name)
            stored = f"blk.{block}.{NAMES[re.sub(r'[.][0-9]+', '', name)]}.weight"
            t = tensors[stored]
            have = dequantize(t.data, t.tensor_type).astype(np.float64).reshape(tuple(int(d) for d in reversed(t.shape)))
            have = have[int(expert[1])] if expert else have
            want = weight(f, m, q)
            heads = {"self_attn.q_proj": config["num_attention_heads"], "self_attn.k_proj": config["num_key_value_heads"]}.get(name)
            want = permuted(want, heads) if heads and config["model_type"] in ("llama", "mistral", "mixtral") else want
            seen.add(stored)
            types.add(t.tensor_type.name)
            worst = max(worst, float(np.abs(have - want).max()))
            steps = max(steps, float(np.abs(want).max()) / 127)
    claimed = q["bits"] != 8 and not q["desc_act"] or q["bits"] == 8 and q["sym"] and not q["desc_act"]
    exact = worst == 0 if claimed else worst <= 0.51 * steps
    vocab = json.load(open(os.path.join(source, "tokenizer.json")))["model"]["vocab"]
    field = reader.fields["tokenizer.ggml.tokens"]
    tokens = [bytes(field.parts[i]).decode() for i in field.data]
    same = all(tokens[i] == token for token, i in vocab.items()) and len(tokens) == config["vocab_size"]
    left = [n for n in tensors if n not in seen and not re.search(r"norm\.weight$|^token_embd|^output|bias$|gate_inp\.weight$", n)]
    text = f"{os.path.basename(directory)}: {'/'.join(sorted(types))}, {len(modules)} linears, largest difference {worst:.1e}{' (claimed exact)' if claimed else ''}"
    return ("ok " if exact and same and not left else "not_ok ") + text


for line in open(sys.argv[1]):
    print(one(*line.split()), flush=True)
