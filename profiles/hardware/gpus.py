"""Accelerators by name: what their datasheets promise.

Peaks are dense 16-bit matrix products with 32-bit accumulation, without sparsity. Gigabytes of
memory are counted as 1e9 bytes, less than most devices have. Interconnects are one direction of one
device: half of what datasheets give as bidirectional.
"""

from __future__ import annotations

from dataclasses import dataclass

from profiles.hardware.naming import known_by


@dataclass(frozen=True)
class Hardware:
    """One device.

    Attributes:
        peak_tflops: 16-bit matrix products.
        memory_gb_per_s, memory_gb: of its own memory.
        link_gb_per_s: to its neighbours, in one direction.
        source: where these figures are from.
        keeps_flops, keeps_memory: shares of what others keep of their peaks, where measurements
            were published that say less.
    """

    name: str
    peak_tflops: float
    memory_gb_per_s: float
    memory_gb: float
    link_gb_per_s: float
    source: str
    keeps_flops: float = 1.0
    keeps_memory: float = 1.0

    @property
    def peak_flops(self) -> float:
        return self.peak_tflops * 1e12 * self.keeps_flops

    @property
    def memory_bytes_per_s(self) -> float:
        return self.memory_gb_per_s * 1e9 * self.keeps_memory

    @property
    def memory_bytes(self) -> float:
        return self.memory_gb * 1e9

    @property
    def link_bytes_per_s(self) -> float:
        return self.link_gb_per_s * 1e9


HARDWARE = {
    device.name: device
    for device in (
        Hardware("A100-40GB-SXM", 312, 1555, 40, 300, "NVIDIA A100 datasheet, NVLink 600 GB/s"),
        Hardware("A100-80GB-SXM", 312, 2039, 80, 300, "NVIDIA A100 datasheet, NVLink 600 GB/s"),
        Hardware("H100-SXM", 989, 3350, 80, 450, "NVIDIA H100 datasheet, NVLink 900 GB/s"),
        Hardware("H200", 989, 4800, 141, 450, "NVIDIA H200 datasheet, NVLink 900 GB/s"),
        Hardware("B200", 2250, 8000, 180, 900, "NVIDIA DGX B200 datasheet, an eighth"),
        Hardware("L4", 121, 300, 24, 32, "NVIDIA L4 datasheet, PCIe 4.0 x16"),
        Hardware("L40S", 362, 864, 48, 32, "NVIDIA L40S datasheet, PCIe 4.0 x16"),
        Hardware("RTX-4090", 165.2, 1008, 24, 32, "NVIDIA Ada whitepaper, PCIe 4.0 x16"),
        Hardware(
            "RTX-PRO-6000-Workstation",
            503.8,
            1792,
            96,
            64,
            "NVIDIA RTX Blackwell PRO whitepaper, Workstation Edition, PCIe 5.0 x16",
        ),
        Hardware(
            "RTX-PRO-6000-Server",
            480,
            1597,
            96,
            64,
            "NVIDIA RTX PRO 6000 Server Edition datasheet; 120 TFLOPS in 32 bits, of which the "
            "Workstation Edition's products are four times as many, PCIe 5.0 x16",
        ),
        Hardware(
            "MI300X",
            1307.4,
            5300,
            192,
            448,
            "AMD MI300X datasheet, 7 links of 128 GB/s; arXiv 2510.27583 measured 45 % of the peak "
            "and 81 % of the bandwidth, where NVIDIA's keep 93 % and 90 %",
            keeps_flops=0.45 / 0.93,
            keeps_memory=0.81 / 0.90,
        ),
        Hardware(
            "CPU",
            5,
            307,
            256,
            32,
            "no datasheet: 32 cores x 2.5 GHz x 64 FLOP in float32, 8 channels of DDR5-4800",
        ),
    )
}


def hardware(name: str) -> Hardware:
    """The device of this name.

    Raises:
        ProfileError: there is none; names the nearest, or all.
    """
    return known_by(name, HARDWARE, "hardware")
