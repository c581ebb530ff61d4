"""Compile the Triton programs for GPUs that are not there, and run what comes out on the machine of `ptx`."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import torch
import triton
from ptx import Machine, Memory, Program
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from graphnoise.kernels.propagate import triton_kernels as kernels

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
POINTERS = {
    torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16",
    torch.int32: "*i32", torch.int64: "*i64", torch.uint8: "*u8",
}  # fmt: skip
_compiled = {}


def compiled(kernel, arch, arguments):
    """Return (compiled kernel, its program), specialised as a launch with these arguments would be."""
    function = getattr(kernels, kernel)
    signature, constants, aligned = {}, {}, {}
    for i, parameter in enumerate(function.params):
        value = arguments[parameter.name]
        if parameter.is_constexpr or value is None:
            signature[parameter.name], constants[parameter.name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = POINTERS[value.dtype]
            if value.data_ptr() % 16 == 0:
                aligned[(i,)] = [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "fp32"
    key = (kernel, arch, *signature.items(), *constants.items(), *aligned)
    if key not in _compiled:
        source = ASTSource(function, signature=signature, constexprs=constants, attrs=aligned)
        options = {"num_warps": 1, "num_stages": 1, "enable_fp_fusion": True}
        made = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
        _compiled[key] = made, Program(made.asm["ptx"])
    return _compiled[key]


def _dump(made, folder, what):
    path = folder / "kernel.cubin"
    path.write_bytes(made.asm["cubin"])
    return subprocess.run([TOOLS / "cuobjdump", what, path], capture_output=True, text=True, check=True).stdout


def usage(made, folder):
    """Return what a binary uses: registers, stack, shared and local memory."""
    text = _dump(made, folder, "-res-usage")
    return {name: int(number) for name, number in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", text)}


def opcodes(made, folder):
    """Return how often each SASS opcode is in a binary, which takes a third of a second."""
    return Counter(re.findall(r"\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", _dump(made, folder, "-sass")))


def spills(made, arch, folder):
    """Return the bytes that the assembler says it spills."""
    path = folder / "kernel.ptx"
    path.write_text(made.asm["ptx"])
    target = re.search(r"\.target (\w+)", made.asm["ptx"])[1]
    command = [get_ptxas(arch).path, "-v", f"-arch={target}", path, "-o", folder / "kernel.out"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    numbers = re.findall(r"(\d+) bytes spill", text)
    assert numbers, text
    return sum(int(number) for number in numbers)


class Emulator:
    """A stand-in for `propagate_triton.launch`.

    Attributes:
        launched: The compiled kernels with the arguments of their first launch, one for each variant.
        sectors: How many 32-byte sectors each launch asked for, by (buffer, "load" | "store"), once for each warp.
    """

    def __init__(self, arch):
        self.arch, self.launched, self.sectors = arch, {}, []

    def __call__(self, kernel, grid, **arguments):
        made, program = compiled(kernel, self.arch, arguments)
        self.launched.setdefault(id(made), (kernel, made, program, arguments))
        self.start(kernel, grid, program, arguments)

    def start(self, kernel, grid, program, arguments):
        """Run a program with arguments that need not be those it was compiled for."""
        memory, given = Memory(), []
        for parameter in getattr(kernels, kernel).params:
            value = arguments[parameter.name]
            if isinstance(value, torch.Tensor):
                assert value.is_contiguous()
                data = value.reshape(-1).view(torch.uint8).numpy()
                given.append(memory.add(parameter.name, data, value.data_ptr()))
            elif value is not None and not parameter.is_constexpr:
                given.append(value)
        machine = Machine(program, memory, grid, [*given, 0, 0])
        machine.run()
        self.sectors.append((kernel, memory.sectors()))
