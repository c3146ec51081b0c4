// What one user of a NequIP model keeps from step to step: lists of edges for both directions, and features of every layer.
//
// Memory: features[k] holds what the convolution of layer k reads, rows of features_width, for all atoms; gate_inputs[k] holds
// y of layer k (network.hpp), and from the backward pass of that layer on its gradient. The gradients of A are needed for one
// layer at a time, so two arrays take turns: sums_gradient[k % 2]. Each thread has scratch memory for a tile.
//
// | symbol             | meaning                                                                                         |
// | `by_centre`, `by_neighbour` | the edges twice, see edges.hpp                                                         |
// | `incoming`         | the list by neighbour: `by_neighbour`, or `by_centre` where edges have their mirror images       |
// | TILE_SPARE         | numbers between the scratch memory of two threads: they do not share a cache line                |
#pragma once
#include "step_state.hpp"

namespace {

constexpr long TILE_SPARE = 64;

// Rows of one tile while it goes through a layer, in a thread's scratch memory.
struct TileRows {
  real *sums;               // A
  real *outputs;            // z', forward
  real *features_gradient;  // g(x), backward, in the same place
  real *outputs_gradient;   // g(z')
  real *gate_gradient;      // g(y)
  real *readout;            // of the readout network

  static constexpr long size() {
    return MOST_TILE_ATOMS * (WIDEST_SUMS + 2 * WIDEST_FEATURES + WIDEST_GATE + READOUT_ROOM) + TILE_SPARE;
  }
  explicit TileRows(real* from)
      : sums(from),
        outputs(sums + MOST_TILE_ATOMS * WIDEST_SUMS),
        features_gradient(outputs),
        outputs_gradient(outputs + MOST_TILE_ATOMS * WIDEST_FEATURES),
        gate_gradient(outputs_gradient + MOST_TILE_ATOMS * WIDEST_FEATURES),
        readout(gate_gradient + MOST_TILE_ATOMS * WIDEST_GATE) {}
};

struct Step : StepState {
  static constexpr bool ORDER_BY_TYPE = false;  // what an atom reads of its neighbours is near in memory
  Edges by_neighbour;
  Edges* incoming;
  Array<real> features[N_LAYERS], gate_inputs[N_LAYERS], sums_gradient[2], scratch;

  void take_edges(int64_t atoms, int64_t edges, const int64_t* centres, const int64_t* neighbours, const double* shifts) {
    by_centre.sort(atoms, edges, centres, neighbours, shifts, place);
    by_neighbour.sort(atoms, edges, neighbours, centres, shifts, place);
    const bool one_list = are_mirror_images(by_centre, by_neighbour, atoms, constants);
    incoming = one_list ? &by_centre : &by_neighbour;
    by_centre.sign = one_list ? -1 : 1;
    by_centre.make_room_for_geometry(edges);
    if (!one_list) by_neighbour.make_room_for_geometry(edges);
    incoming->make_room_for_gradients(edges);
    for (int k = 0; k < N_LAYERS; k++) {
      features[k].make_room(k ? atoms * NETWORK[k].features_width : 0);
      gate_inputs[k].make_room(atoms * NETWORK[k].gate_width);
    }
    for (int k = 0; k < 2; k++) sums_gradient[k].make_room(atoms * WIDEST_SUMS);
  }
  void prepare_scratch(int n_threads) { scratch.make_room((long)n_threads * TileRows::size()); }
};

}  // namespace
