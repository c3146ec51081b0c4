"""The networks of an edge-wise model, the latent ones and the readout: their part of model.inc."""

from __future__ import annotations

from ...allegro_program import AllegroProgram, Mlp
from ...mixing_program import MixingProgram
from ..layer_code import ACTIVATION_KINDS, array_code
from ..packing import Blob, narrowest_lanes, pad_matrix, padded
from .edge_row import Dense, EdgeRow, folded


def _weighters(program: AllegroProgram | MixingProgram) -> list[Mlp]:
    """Networks of weights of a model that mixes channels, each with its last matrix."""
    if not isinstance(program, MixingProgram):
        return []
    return [
        Mlp([*weighter.matrices, weights.reshape(len(weights), -1)], weighter.activation)
        for weighter, weights in zip(program.weighters, program.weights_of_layers, strict=False)
    ]


class NetworkTable:
    """Networks of a model, with their factors in the matrices, and the width of the vectors that suits them.

    Parameters
    ----------
    program : AllegroProgram or MixingProgram
        The model.
    vector_bytes : int
        Width of the machine's vectors.
    parts : list of tuple of int
        Channels of what else stands in rows of an edge, and how many times.

    Attributes
    ----------
    networks : list of Mlp
        Latent networks, then the readout, then networks of weights if there are any.
    readout : int
        Which of them is the readout.
    lanes : int
        Numbers of a vector.
    widths : list of list of int
        Padded widths of the hidden layers of each.
    """

    def __init__(
        self, program: AllegroProgram | MixingProgram, vector_bytes: int, parts: list[tuple[int, int]]
    ) -> None:
        self.networks: list[Mlp] = [folded(mlp) for mlp in (*program.latents, program.readout, *_weighters(program))]
        self.readout = len(program.latents)
        hidden = [[matrix.shape[1] for matrix in network.matrices[:-1]] for network in self.networks]
        every = [(width, 1) for widths in hidden for width in widths]
        self.lanes = narrowest_lanes(program.dtype, vector_bytes, [*parts, *every])
        self.widths = [[padded(width, self.lanes) for width in widths] for widths in hidden]

    def sizes(self, widest: int) -> dict[str, int]:
        """Constants of model.inc; ``widest`` is the room in a buffer that the two-body functions need."""
        return {
            "N_LAYERS": self.readout,
            "N_NETWORKS": len(self.networks),
            "MOST_HIDDEN": max(len(widths) for widths in self.widths),
            "WIDEST": max([widest, *(width for widths in self.widths for width in widths)]),
        }

    def code(self, row: EdgeRow, followers: dict[int, str], blob: Blob) -> list[str]:
        """C++ of all networks.

        Parameters
        ----------
        row : EdgeRow
            Where their inputs are.
        followers : dict of int to str
            Of each network but the readout: members of ``EdgeNetwork`` that say what reads it, from ``scalars`` on.
        blob : Blob
            All weights; is added to.

        Returns
        -------
        list of str
        """
        dense = Dense(blob)
        lines, entries = [], []
        for k, (network, widths) in enumerate(zip(self.networks, self.widths, strict=True)):
            between = [dense(matrix) for matrix in network.matrices[1:-1]]
            lines += [
                f"const int WIDTHS_{k}[] = {{{', '.join(map(str, widths))}}};",
                array_code("DenseLayer", f"BETWEEN_{k}", between),
            ]
            reads = followers.get(k, "{}, {}, 0, 0")
            entries.append(f"{row.inputs[k]}, {len(widths)}, WIDTHS_{k}, BETWEEN_{k}, {reads}")
        last = self.networks[self.readout].matrices[-1]
        last = pad_matrix(last, list(range(len(last))), self.widths[self.readout][-1], 1)
        kinds = [ACTIVATION_KINDS.index(self.networks[k].activation[0]) for k in (0, self.readout, -1)]
        return [
            *lines,
            f"constexpr long READOUT_LAST = {blob.add(last)};",
            f"constexpr int LATENT_ACTIVATION = {kinds[0]}, READOUT_ACTIVATION = {kinds[1]};",
            f"[[maybe_unused]] constexpr int WEIGHTER_ACTIVATION = {kinds[2]};",
            array_code("EdgeNetwork", "NETWORKS", entries),
            "inline int last_width(int k) { return NETWORKS[k].widths[NETWORKS[k].n_hidden - 1]; }",
        ]
