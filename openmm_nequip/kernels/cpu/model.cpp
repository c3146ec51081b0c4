// A fused model on a CPU. The generator writes model.inc, puts it and all headers into one text, and that is what is compiled.
//
// How to read it, from small to large:
//     vectors, activations, memory, products        the machine
//     radial_basis, table_values, edges             what happens at an edge
//     step_state, pair_forces                       what all families of models have
//     NequIP: linear_maps, gate                     what happens at an atom
//             radial_weights, network               what a layer is; model.inc: the sizes, layers and convolutions of the model
//             layer_state, readout, layers          a step, piece by piece; all of it: layered_step
//     Allegro: see allegro/edgewise_step.hpp; of nequip <= 0.6: mixing/mixing_step.hpp
//     threads, atom_order, whole_step               who does what when; network_step.inc names the family's header
//     interface, simulation                         what Python calls
#include "interface.hpp"
#include "simulation.hpp"
