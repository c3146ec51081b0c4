// A fused model on a CPU. The generator writes model.inc, puts it and all headers into one text, and that is what is compiled.
//
// How to read it, from small to large:
//     vectors, activations, memory                  the machine
//     linear_maps, gate                             what happens at an atom
//     radial_basis, edges, radial_weights           what happens at an edge
//     network                                       what a layer is; model.inc: the sizes, layers and convolutions of the model
//     step_state, readout, layers, pair_forces      a step, piece by piece
//     threads, atom_order, whole_step               who does what when
//     interface, simulation                         what Python calls
#include "interface.hpp"
#include "simulation.hpp"
