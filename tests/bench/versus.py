"""versus.py SOURCE MODEL TOKENS.npy SAMPLES LENGTH f32|bf16 THREADS BITS GROUP: seconds that QEP+GPTQ of the paper's authors (their llama.py, the folder SOURCE) takes for the blocks
of MODEL on the CPU. Their function runs as it is; what it imports for GPUs, downloads and evaluation is replaced by nothing.
SPDX-License-Identifier: Apache-2.0"""
import importlib.abc
import importlib.machinery
import sys
import time
import types
from argparse import Namespace

import numpy as np
import torch
from transformers import LlamaForCausalLM

ABSENT = ("accelerate", "awq", "datasets", "portalocker", "primefac", "qep_awq", "resultutils", "scipy", "zeroShot")


class Nothing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules of these names, with any attribute that is asked for."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__all__ = []
        module.__getattr__ = lambda attribute: None
        return module

    def exec_module(self, module):
        pass


def main():
    source, model_dir, tokens_file, samples, length, dtype, threads, bits, group = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model = LlamaForCausalLM.from_pretrained(model_dir, dtype={"f32": torch.float32, "bf16": torch.bfloat16}[dtype]).eval()
    tokens = np.load(tokens_file)[: int(samples), : int(length)]
    model.seqlen = tokens.shape[1]
    loader = [(torch.from_numpy(row.astype(np.int64))[None],) for row in tokens]

    sys.meta_path.insert(0, Nothing())
    sys.path.insert(0, source)
    torch.cuda.empty_cache = torch.cuda.synchronize = lambda *a: None
    import llama
    llama.args = Namespace(dataset="", nsamples=len(loader), seed=0, model=model_dir, method="gptq", qep=True, percdampqep=1.0, perccorr=0.5,
                           percdamp=0.01, wbits=int(bits), groupsize=int(group), act_order=False, multigpu=False)
    llama.get_loaders = lambda *a, **k: (loader, None)
    begin = time.time()
    llama.llama_sequential(model, torch.device("cpu"))
    print(f"seconds {time.time() - begin:.2f}")


main()
