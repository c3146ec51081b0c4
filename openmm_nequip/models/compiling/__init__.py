"""Models compiled with AOTInductor: at first use, ahead of time, and as targets of ``nequip-compile``."""
