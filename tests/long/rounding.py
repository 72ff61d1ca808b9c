"""rounding.py MODEL CALIBRATION.npy: what float32 does to the factor that the published codes of GPTQ and its kin round by (H summed sequence by sequence as
their add_batch does), told as the change of the damping (0.01) that does as much. tests/run/test_peer_rows.sh takes its spread from it.
Needs torch, transformers and numpy (tests/support/venv.sh). SPDX-License-Identifier: Apache-2.0"""
import statistics
import sys

import numpy as np
import torch
from transformers import LlamaForCausalLM

DAMPING = 0.01
READERS = ("q_proj", "o_proj", "gate_proj", "down_proj")  # one linear of each input


class Sums:
    """H of one linear's input in float32, as published, and in float64."""

    def __init__(self, total):
        self.total, self.n, self.single, self.double = total, 0, 0.0, 0.0

    def __call__(self, module, inputs, output):
        x = inputs[0].reshape(-1, inputs[0].shape[-1]).t()
        self.single = self.single * (self.n / (self.n + 1))
        self.n += 1
        scaled = np.sqrt(2 / self.n) * x.float()
        self.single = self.single + scaled.matmul(scaled.t())
        self.double = self.double + 2 / self.total * x.double() @ x.double().t()


def upper_factor(h, order, damping):
    """Of the inverse of H, damped, in the order of act_order."""
    h = (h + damping * h.diag().mean() * torch.eye(len(h), dtype=h.dtype))[order][:, order]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(h))
    return torch.linalg.cholesky(inverse, upper=True).double()


def main():
    model_dir, tokens_file = sys.argv[1:]
    model = LlamaForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    tokens = torch.from_numpy(np.load(tokens_file).astype(np.int64))
    linears = {name: module for name, module in model.named_modules() if name.endswith(READERS)}
    sums = {name: Sums(len(tokens)) for name in linears}
    for name, module in linears.items():
        module.register_forward_hook(sums[name])
    with torch.no_grad():
        for row in tokens:
            model(row[None])
    parts = []
    for name, s in sums.items():
        order = torch.argsort(s.double.diag(), descending=True)
        exact = upper_factor(s.double, order, DAMPING)
        rounded = (upper_factor(s.single, order, DAMPING) - exact).norm()
        damped = (upper_factor(s.double, order, DAMPING * (1 + 1e-5)) - exact).norm()
        parts.append((rounded / damped).item())
        print(f"{name:40} {parts[-1]:6.1f} parts in 10^5 of the damping")
    print(f"median {statistics.median(parts):.1f}, {min(parts):.1f} .. {max(parts):.1f}")


main()
