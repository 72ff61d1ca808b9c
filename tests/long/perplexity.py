"""perplexity.py MODEL TEXT LENGTH WINDOWS: transformers' perplexity of a text, in f32, by the windows of the literature: the whole text is
tokenized once and cut into contiguous windows; every token but the first of each window is predicted. SPDX-License-Identifier: Apache-2.0"""
import math
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model_dir, path, length, windows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with open(path, encoding="utf-8", newline="") as f:
    text = f.read()
ids = AutoTokenizer.from_pretrained(model_dir)(text, return_tensors="pt").input_ids[0]
model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
n = min(windows, len(ids) // length)
nll = 0.0
with torch.no_grad():
    for i in range(n):
        row = ids[i * length:(i + 1) * length].unsqueeze(0)
        logits = model(row).logits[0, :-1].double()
        nll += torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="sum").item()
print("%.12g %d" % (math.exp(nll / (n * (length - 1))), n * (length - 1)))
