"""Fused inference of NequIP and Allegro models on CPUs: the whole step in generated C++, radial networks tabulated.

References
----------
NequIP: S. Batzner et al., Nat. Commun. 13, 2453 (2022), doi:10.1038/s41467-022-29939-5; module semantics from nequip
(https://github.com/mir-group/nequip) and e3nn (https://github.com/e3nn/e3nn). Allegro: A. Musaelian et al., Nat.
Commun. 14, 579 (2023), doi:10.1038/s41467-023-36329-y; module semantics from nequip-allegro.
"""
