"""open.py CASES RESULT: opens each directory of CASES (lines: directory, token file) with transformers and what it uses for the format, and compares the
negative log-likelihood of every window with our own in DIRECTORY.nll (lines: window, sum). One line per case in RESULT: "ok TEXT", "unsupported TEXT|MESSAGE" or
"not_ok TEXT". SPDX-License-Identifier: Apache-2.0"""
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

WINDOW = 32
# Noise of one window's mean log-likelihood, nats. In f32 it is the weights that GPTQModel's and compressed-tensors' CPU paths round to F16 when they multiply scale and
# code (seen: up to 2.2e-4; where the products fit F16, 5e-7); a wrong row or group moves it by 1e-2 and more.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
EXPERTS = 0.2  # of a window in which a token went to another expert; random experts (seen: 0.7) are more


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
        raise RuntimeError(f"transformers finds no place for the packed experts and leaves {len(missing)} weights newly initialized, the first is {missing[0]}")
    return model.eval()


def load_gptqmodel(directory):
    """Its own loader, which takes fused experts apart, in F16. In a process of its own: it changes transformers' classes."""
    from gptqmodel import BACKEND, GPTQModel

    return GPTQModel.load(directory, device="cpu", backend=BACKEND.TORCH, dtype=torch.float16).model.eval()


def by_gptqmodel(directory, tokens, ours):
    """Experts once more: "ok TEXT", "not_ok TEXT", or None and what it says."""
    with tempfile.TemporaryDirectory() as d:
        result = os.path.join(d, "nll.npy")
        run = subprocess.run([sys.executable, __file__, "--gptqmodel", directory, tokens, str(len(ours)), result], capture_output=True, text=True)
        if run.returncode != 0:
            return None, run.stderr.strip().splitlines()[-1][:240]
        theirs = np.load(result)
    worst, rms, median = differences(theirs, ours)
    good = agree(worst, median, TOLERANCE[torch.float16], True)
    return (f"{'ok' if good else 'not_ok'} {os.path.basename(directory)}: gptq by GPTQModel.load in float16: largest difference {worst:.1e}, rms {rms:.1e}, "
            f"median {median:.1e} nats per prediction"), ""


def differences(theirs, ours):
    """The largest, the root of the mean square and the median of the sizes, nats per prediction."""
    d = (theirs - ours) / (WINDOW - 1)
    return float(np.abs(d).max()), float(np.sqrt(np.mean(d**2))), float(np.median(np.abs(d)))


def agree(worst, median, bound, experts):
    """With experts a rounding may send a token of a window to another one, which moves that window alone."""
    return median <= bound and worst <= EXPERTS if experts else worst <= bound


def has_experts(directory):
    config = json.load(open(os.path.join(directory, "config.json")))
    return any(config.get(k) for k in ("num_experts", "num_local_experts"))


def ways(q):
    """How the format is opened. compressed-tensors 0.20 lets transformers load zero points only when the model is decompressed at once: it
    expects the packed zero points of the layers it prepares in their unpacked shape, those of its own files too."""
    yield "", {}
    if q.get("quant_method") == "compressed-tensors":
        yield " (run_compressed=False)", {"quantization_config": CompressedTensorsConfig(run_compressed=False)}
    if q.get("quant_method") == "gptq":  # GPTQModel 7.7 chooses a fused CPU kernel for some 4-bit files that does not use their zero points
        yield " (backend=torch)", {"quantization_config": GPTQConfig(bits=q["bits"], backend="torch")}


def one(directory, tokens):
    ours = np.loadtxt(directory + ".nll", ndmin=2)[:, 1]
    ids = windows(tokens, len(ours))
    q = json.load(open(os.path.join(directory, "config.json"))).get("quantization_config", {})
    last = None
    for dtype, (how, more) in [(d, w) for d in (torch.float32, torch.bfloat16) for w in ways(q)]:
        try:
            model = load(directory, dtype, **more)
            theirs = nll(model, ids).numpy()
        except Exception as e:  # what the client says is the result
            last = last or f"unsupported {os.path.basename(directory)}|{type(e).__name__}: {str(e).splitlines()[0][:240] if str(e) else ''}"
            continue
        worst, rms, median = differences(theirs, ours)
        kernels = sorted({type(m).__name__ for m in model.modules() if hasattr(m, "qweight") or hasattr(m, "weight_packed") or hasattr(m, "quantization_scheme")})
        kind = q.get("checkpoint_format") or q.get("quant_method", "dense")
        text = f"{os.path.basename(directory)}: {kind} by {','.join(kernels) or 'plain layers'} in {str(dtype)[6:]}{how}: largest difference {worst:.1e}, rms {rms:.1e}, median {median:.1e} nats per prediction"
        fused = any("Fused" in k for k in kernels)  # computes in bf16 whatever the model's type
        half = any(p.dtype == torch.float16 for p in model.parameters())  # experts that compressed-tensors unpacks stay in F16
        bound = TOLERANCE[torch.bfloat16 if fused else torch.float16 if half else dtype]
        if agree(worst, median, bound, has_experts(directory)):
            return "ok " + text + (f" ({last})" if last else "")
        last = "not_ok " + text
        if dtype == torch.float32 and not fused and not how:
            break
    if q.get("quant_method") == "gptq" and last.startswith("unsupported"):
        verdict, message = by_gptqmodel(directory, tokens, ours)
        return f"{verdict} ({last})" if verdict else f"{last}; GPTQModel.load: {message}"
    return last


def main():
    if sys.argv[1] == "--gptqmodel":
        directory, tokens, n, result = sys.argv[2:]
        np.save(result, nll(load_gptqmodel(directory), windows(tokens, int(n))).numpy())
        return
    with open(sys.argv[2], "w") as out:  # GPTQModel logs to stdout
        for line in open(sys.argv[1]):
            directory, tokens = line.split()
            print(one(directory, tokens), file=out, flush=True)


if __name__ == "__main__":
    main()
