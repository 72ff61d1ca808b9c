"""make_families.py DIR TOKENIZER: a small model with random weights of every family, made by transformers' own classes, in DIR/NAME with the tokenizer of the directory TOKENIZER,
and tokens in DIR/tokens.npy; prints the names. All sizes are multiples of 32, so that every format can hold them. SPDX-License-Identifier: Apache-2.0"""
import json
import os
import shutil
import sys

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

out, source = sys.argv[1:3]
VOCAB = json.load(open(os.path.join(source, "config.json")))["vocab_size"]
COMMON = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=256,
              bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
FAMILIES = {
    "llama": ("llama", dict(rope_parameters=LLAMA3)),
    "mistral": ("mistral", dict(sliding_window=None)),
    "qwen2": ("qwen2", dict()),
    "qwen3": ("qwen3", dict(tie_word_embeddings=True)),
    "phi": ("phi3", dict(sliding_window=None)),  # llama.cpp wants tokens of Phi-3's own where the name says phi3
    "gemma2": ("gemma2", dict(query_pre_attn_scalar=16, sliding_window=16)),
    "gemma3": ("gemma3_text", dict(query_pre_attn_scalar=16, sliding_window=16, num_hidden_layers=7)),
    "olmo2": ("olmo2", dict()),
    "mixtral": ("mixtral", dict(num_local_experts=4, num_experts_per_tok=2)),
    "qwen3_moe": ("qwen3_moe", dict(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=64, norm_topk_prob=True)),
}
# The same with every expert chosen for every token: no rounding can change the choice.
for _name, _top_k in (("mixtral", 4), ("qwen3_moe", 6)):
    FAMILIES[_name + "_all"] = (FAMILIES[_name][0], {**FAMILIES[_name][1], "num_experts_per_tok": _top_k})


def make(directory, model_type, own):
    config = AutoConfig.for_model(model_type, **{**COMMON, **own})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    shift = 0.0 if model_type.startswith("gemma") else 1.0
    with torch.no_grad():
        for name, p in model.named_parameters():
            width = p.shape[-1] ** -0.5
            if "norm" in name:
                p.copy_(shift + 0.1 * torch.randn(p.shape))
            elif "embed" in name:
                p.copy_(torch.randn(p.shape) * (width if config.tie_word_embeddings else 1.0))
            else:
                p.copy_(1.5 * width * torch.randn(p.shape))
    model.save_pretrained(directory)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(source, file), directory)


os.makedirs(out, exist_ok=True)
np.save(os.path.join(out, "tokens.npy"), np.random.default_rng(7).integers(3, VOCAB, (24, 64)).astype(np.int32))
for name, (model_type, own) in FAMILIES.items():
    torch.manual_seed(11)
    make(os.path.join(out, name), model_type, own)
    print(name, flush=True)
