"""Write a file of the time of nequip <= 0.6: ``python make_early_models.py FILE``, with a name of :data:`FILES`.

Random weights, float64. NequIP in an environment of nequip 0.6.2 (torch 2.0, e3nn 0.5.1): parity, ShiftedSoftPlus in
the radial networks, scales and shifts of types, a global factor, ZBL, stress; one with layers that add their input.
early05 needs nequip 0.5.6 (torch 1.13): without the ZBL term, self-connections and stress, and it states neither
version nor precision, as the files of that time.

Allegro beside nequip 0.6.2: early-allegro and early02 with the Allegro of 2022 (0.2, its main branch for years), and
early03 with Allegro 0.3.0. Those behind the first of each have settings that few models have.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import e3nn
import nequip
import torch
from nequip.model import model_from_config
from nequip.scripts import deploy
from nequip.utils import Config

TYPES = ["H", "C", "O"]
BUILDERS = ["SimpleIrrepsConfig", "EnergyModel", "PerSpeciesRescale", "PairPotentialTerm", "StressForceOutput"]
CONFIGURATION = {
    "model_builders": [*BUILDERS, "RescaleEnergyEtc"], "pair_style": "ZBL", "units": "metal",
    "type_names": TYPES, "num_types": len(TYPES), "type_to_chemical_symbol": dict(enumerate(TYPES)),
    "r_max": 4.0, "num_layers": 2, "l_max": 1, "parity": True, "num_features": 2, "invariant_layers": 2,
    "invariant_neurons": 4, "avg_num_neighbors": 12.0, "num_basis": 4, "BesselBasis_trainable": True,
    "PolynomialCutoff_p": 5, "nonlinearity_type": "gate", "nonlinearity_scalars": {"e": "ssp", "o": "tanh"},
    "nonlinearity_gates": {"e": "silu", "o": "abs"}, "resnet": False, "use_sc": True,
    "per_species_rescale_scales": [0.8, 1.0, 1.2], "per_species_rescale_shifts": [-1.0, -2.0, -3.0],
    "global_rescale_scale": 1.7, "global_rescale_shift": None, "default_dtype": "float64", "model_dtype": "float64",
}  # fmt: skip
OF_OLDER = {
    "model_builders": ["SimpleIrrepsConfig", "EnergyModel", "PerSpeciesRescale", "ForceOutput", "RescaleEnergyEtc"],
    "use_sc": False, "default_dtype": "float32", "nonlinearity_scalars": {"e": "silu", "o": "tanh"},
}  # fmt: skip
ALLEGRO = {
    "model_builders": ["allegro.model.Allegro", *BUILDERS[2:], "RescaleEnergyEtc"], "parity": "o3_full",
    "two_body_latent_mlp_latent_dimensions": [4, 6], "two_body_latent_mlp_nonlinearity": "silu",
    "latent_mlp_latent_dimensions": [6, 6], "latent_mlp_nonlinearity": "silu",
    "env_embed_mlp_latent_dimensions": [], "env_embed_mlp_nonlinearity": None,
    "edge_eng_mlp_latent_dimensions": [4], "edge_eng_mlp_nonlinearity": None,
}  # fmt: skip
ALLEGRO_02 = {"env_embed_multiplicity": 3, "latent_resnet_update_ratios": [0.3, 0.6]}
ALLEGRO_03 = {
    "model_builders": ["allegro.model.Allegro", "PerSpeciesRescale", "StressForceOutput", "RescaleEnergyEtc"],
    "num_tensor_features": 3, "num_bessels_per_basis": 4, "radial_basis_trainable": False,
    "per_edge_type_cutoff": {"H": 3.0, "C": {"H": 3.5, "C": 4.0, "O": 3.2}, "O": 3.7},
    "latent_resnet_coefficients": [0.2, 0.5, 0.3],
}  # fmt: skip


PLAIN = {"model_builders": ["allegro.model.Allegro", "PerSpeciesRescale", "StressForceOutput", "RescaleEnergyEtc"]}
#: Padded tensors, cosine cutoffs that get shorter from layer to layer, hidden layers before weights of environments.
PADDED = PLAIN | {
    "pad_to_alignment": 8, "cutoff_type": "cosine", "r_start_cos_ratio": 0.6, "per_layer_cutoffs": [3.9, 3.7, 3.4],
    "env_embed_mlp_latent_dimensions": [5], "env_embed_mlp_nonlinearity": "silu", "per_edge_species_scale": True,
}  # fmt: skip
#: Linear maps of environments, and polynomial cutoffs of layers of another power than that of the radial basis.
LINEAR = PLAIN | {
    "linear_after_env_embed": True, "allegro_PolynomialCutoff_p": 4, "per_layer_cutoffs": [4.0, 3.6, 3.6],
    "env_embed_multiplicity": 2,
}  # fmt: skip
#: Mixing of channels before each path, and Bessel roots of pairs of types.
ROOTS_OF_PAIRS = {
    "tensors_mixing_mode": "uvvp", "radial_basis_trainable": True, "num_tensor_features": 2,
    "self_edge_tensor_product": True, "latent_mlp_latent_dimensions": [6],
}  # fmt: skip
#: A weight for each path, and a radial basis that nothing makes end at the cutoff.
PATHS = {"tensors_mixing_mode": "p", "use_original_normalized_basis": True, "per_edge_type_cutoff": None}
#: Layers whose output is of the blocks of their input.
RESIDUAL = {"resnet": True, "num_layers": 4, "parity": False, "model_builders": [*BUILDERS[:3], "StressForceOutput"]}
FILES = {
    "early-nequip.pth": CONFIGURATION,
    "early06-residual.pth": CONFIGURATION | RESIDUAL,
    "early05-nequip.pth": CONFIGURATION | OF_OLDER,
    "early-allegro.pth": CONFIGURATION | ALLEGRO | ALLEGRO_02,
    "early02-padded.pth": CONFIGURATION | ALLEGRO | ALLEGRO_02 | PADDED,
    "early02-linear.pth": CONFIGURATION | ALLEGRO | ALLEGRO_02 | LINEAR,
    "early03-allegro.pth": CONFIGURATION | ALLEGRO | ALLEGRO_03,
    "early03-pairs.pth": CONFIGURATION | ALLEGRO | ALLEGRO_03 | ROOTS_OF_PAIRS,
    "early03-paths.pth": CONFIGURATION | ALLEGRO | ALLEGRO_03 | PATHS,
}


def main() -> None:
    """Build, deploy, and write without what debuggers read, compressed."""
    file_name = sys.argv[1]
    options = Config.from_dict(FILES[file_name])
    torch.set_default_dtype(getattr(torch, options.default_dtype))
    torch.manual_seed(5)
    model = model_from_config(config=options, initialize=True, dataset=None)
    for name, parameter in model.named_parameters():
        if "bessel" in name or "per_edge_scales" in name:
            parameter.data += 0.05 * torch.randn_like(parameter)
    facts = {"r_max": str(options.r_max), "type_names": " ".join(TYPES), "n_species": str(len(TYPES))}
    if not nequip.__version__.startswith("0.5"):
        versions = {"nequip": nequip.__version__, "e3nn": e3nn.__version__, "torch": torch.__version__}
        facts |= {f"{name}_version": value for name, value in versions.items()}
        facts |= {"default_dtype": options.default_dtype, "model_dtype": options.model_dtype, "allow_tf32": "0"}
    path = Path(__file__).with_name(file_name)
    torch.jit.save(deploy._compile_for_deploy(model), str(path), _extra_files=facts)
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if not name.endswith(".debug_pkl")}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in kept.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main()
