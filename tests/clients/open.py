"""open.py CASES RESULT: opens each directory of CASES (lines: directory, token file; of a mixture of experts also the original model and the gptq output with the same codes) with
transformers and what it uses for the format, and compares the negative log-likelihood of every window with our own in DIRECTORY.nll (lines: window, sum). A window of a mixture
in which a token goes to other experts than in the reference (experts.py) counts apart: it must do so first where the reference's router is as good as undecided. One line per case
in RESULT: "ok TEXT", "unsupported TEXT|MESSAGE" or "not_ok TEXT". SPDX-License-Identifier: Apache-2.0"""
import json
import os
import subprocess
import sys
import tempfile
import warnings

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
warnings.filterwarnings("ignore")
import numpy as np
import torch
from transformers import AutoModelForCausalLM, CompressedTensorsConfig, GPTQConfig

import experts

WINDOW = 32
# Noise of one window's mean log-likelihood, nats. In f32 it is the weights that GPTQModel's and compressed-tensors' CPU paths round to F16 when they multiply scale and
# code (seen: up to 2.2e-4; where the products fit F16, 5e-7); a wrong row or group moves it by 1e-2 and more.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-3, torch.bfloat16: 5e-2}
# Mixtures: as long as all tokens go where they went, experts that a client keeps in F16 move a window by up to 7e-4, a whole model in F16 by 1.3e-3. The router's logits have a
# standard deviation of 1.4 to 1.6; the first token of a window that goes elsewhere was seen where the last expert that is taken and the next one are up to 4e-3 apart.
EXPERTS, TIE, REFERENCE = 2e-3, 1e-2, 1e-5


def windows(path, n):
    ids = np.load(path).reshape(-1).astype(np.int64)
    return torch.tensor(ids[: n * WINDOW].reshape(n, WINDOW))


def nll(model, ids):
    out = []
    with torch.no_grad():
        for row in ids.split(8):
            logits = model(row).logits.double()[:, :-1]
            p = torch.log_softmax(logits, -1).gather(-1, row[:, 1:, None]).squeeze(-1)
            out.append(-p.sum(-1))
    return torch.cat(out)


def load(directory, dtype, **more):
    model, info = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, device_map="cpu", output_loading_info=True, **more)
    missing = sorted(set(info["missing_keys"]) & set(model.state_dict()))
    if missing:  # of random values it says no more than a line of a table
        raise RuntimeError(f"transformers leaves {len(missing)} weights of random values, the first is {missing[0]}")
    return model.eval()


def load_gptqmodel(directory):
    """Its own loader, which takes fused experts apart, in F16. In a process of its own: it changes transformers' classes."""
    from gptqmodel import BACKEND, GPTQModel

    return GPTQModel.load(directory, device="cpu", backend=BACKEND.TORCH, dtype=torch.float16).model.eval()


class Mixture:
    """What the router of the reference says of all windows."""

    def __init__(self, original, source, ids, ours):
        model = experts.reference(original, source)
        self.top_k = model.config.num_experts_per_tok
        self.logits = experts.router_logits(model, ids)
        self.off = float(np.abs(nll(model, ids).numpy() - ours).max()) / (WINDOW - 1)


def by_gptqmodel(directory, tokens, ours, mixture):
    """What transformers does not load, once more: "ok TEXT", "not_ok TEXT", or None and what it says."""
    with tempfile.TemporaryDirectory() as d:
        result = os.path.join(d, "result.pt")
        run = subprocess.run([sys.executable, __file__, "--gptqmodel", directory, tokens, str(len(ours)), result] + ["routers"] * (mixture is not None), capture_output=True, text=True)
        if run.returncode != 0:
            return None, run.stderr.strip().splitlines()[-1][:240]
        theirs, logits = torch.load(result)
    good, text = judge(theirs.numpy(), ours, EXPERTS if mixture else TOLERANCE[torch.float16], mixture, logits)
    return f"{'ok' if good else 'not_ok'} {os.path.basename(directory)}: gptq by GPTQModel.load in float16: {text}", ""


def judge(theirs, ours, bound, mixture=None, logits=None):
    """Whether the windows agree, and how: the largest difference, the root of the mean square, nats per prediction."""
    d = np.abs(theirs - ours) / (WINDOW - 1)
    text = f"largest difference {d.max():.1e}, rms {np.sqrt(np.mean(d**2)):.1e} nats per prediction"
    if not mixture:
        return bool(d.max() <= bound), text
    changed = experts.changes(mixture.logits, logits, mixture.top_k)
    same = [x for x, c in zip(d, changed) if c is None]
    margin = max((c[2] for c in changed if c), default=0.0)
    good = mixture.off <= REFERENCE and len(same) >= len(d) / 2 and max(same) <= bound and margin <= TIE
    return good, (f"{text}; {max(same):.1e} in the {len(same)} of {len(d)} windows whose tokens go to the same experts, the others change first at a margin of "
                  f"{margin:.1e} of the router's logits; the reference is {mixture.off:.0e} off")


def ways(q):
    """How the format is opened. compressed-tensors 0.20 lets transformers load zero points only when the model is decompressed at once: it
    expects the packed zero points of the layers it prepares in their unpacked shape, those of its own files too."""
    yield "", {}
    if q.get("quant_method") == "compressed-tensors":
        yield " (run_compressed=False)", {"quantization_config": CompressedTensorsConfig(run_compressed=False)}
    if q.get("quant_method") == "gptq":  # GPTQModel 7.7 chooses a fused CPU kernel for some 4-bit files that does not use their zero points
        yield " (backend=torch)", {"quantization_config": GPTQConfig(bits=q["bits"], backend="torch")}


def one(directory, tokens, original=None, source=None):
    ours = np.loadtxt(directory + ".nll", ndmin=2)[:, 1]
    ids = windows(tokens, len(ours))
    q = json.load(open(os.path.join(directory, "config.json"))).get("quantization_config", {})
    mixture = Mixture(original, source, ids, ours) if original else None
    last = None
    for dtype, (how, more) in [(d, w) for d in (torch.float32, torch.bfloat16) for w in ways(q)]:
        try:
            model = load(directory, dtype, **more)
            theirs = nll(model, ids).numpy()
            logits = experts.router_logits(model, ids) if mixture else None
        except Exception as e:  # what the client says is the result
            last = last or f"unsupported {os.path.basename(directory)}|{type(e).__name__}: {str(e).splitlines()[0][:240] if str(e) else ''}"
            continue
        kernels = sorted({type(m).__name__ for m in model.modules() if hasattr(m, "qweight") or hasattr(m, "weight_packed") or hasattr(m, "quantization_scheme")})
        kind = q.get("checkpoint_format") or q.get("quant_method", "dense")
        fused = any("Fused" in k for k in kernels)  # computes in bf16 whatever the model's type
        good, text = judge(theirs, ours, EXPERTS if mixture else TOLERANCE[torch.bfloat16 if fused else dtype], mixture, logits)
        text = f"{os.path.basename(directory)}: {kind} by {','.join(kernels) or 'plain layers'} in {str(dtype)[6:]}{how}: {text}"
        if good:
            return "ok " + text + (f" ({last})" if last else "")
        last = "not_ok " + text
        if dtype == torch.float32 and not fused and not how:
            break
    if q.get("quant_method") == "gptq" and last.startswith("unsupported"):
        verdict, message = by_gptqmodel(directory, tokens, ours, mixture)
        return f"{verdict} ({last})" if verdict else f"{last}; GPTQModel.load: {message}"
    return last


def main():
    if sys.argv[1] == "--gptqmodel":
        directory, tokens, n, result = sys.argv[2:6]
        model, ids = load_gptqmodel(directory), windows(tokens, int(n))
        torch.save((nll(model, ids), experts.router_logits(model, ids) if sys.argv[6:] else None), result)
        return
    with open(sys.argv[2], "w") as out:  # GPTQModel logs to stdout
        for line in open(sys.argv[1]):
            print(one(*line.split()), file=out, flush=True)


if __name__ == "__main__":
    main()
