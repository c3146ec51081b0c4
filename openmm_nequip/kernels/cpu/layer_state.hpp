// What one user of a NequIP model keeps from step to step: lists of edges for both directions, and features of every layer.
//
// Memory: features[k] holds what the convolution of layer k reads, rows of features_width, for all atoms; gate_inputs[k] holds
// y of layer k (network.hpp), and from the backward pass of that layer on its gradient. The gradients of A are needed for one
// layer at a time, so two arrays take turns: sums_gradient[k % 2]; their rows are interleaved, see convolution_layout.py.
//
// | symbol             | meaning                                                                                         |
// | `by_centre`, `by_neighbour` | the edges twice, see edges.hpp                                                         |
// | `incoming`         | the list by neighbour: `by_neighbour`, or `by_centre` where edges have their mirror images       |
// | TILE_SPARE         | numbers between the scratch memory of two threads: they do not share a cache line                |
#pragma once
#include "step_state.hpp"

namespace {

constexpr long TILE_SPARE = 64;

// A thread's scratch memory: edges and rows of a span while its convolution is made, and rows of one tile of it while it goes
// through maps and gate.
struct Scratch {
  void *room;              // of the edges of a piece
  real *span_sums;         // A, interleaved
  real *span_gradient;     // g(x)
  real *sums;              // A of a tile, then g(A)
  real *outputs;           // z'
  real *outputs_gradient;  // g(z')
  real *gate_gradient;     // g(y)
  real *readout;           // of the readout network

  static constexpr long room_size() { return (ROOM_BYTES + ALIGNMENT - 1) / ALIGNMENT * (ALIGNMENT / (long)sizeof(real)); }
  static constexpr long size() {
    const long span = SPAN_ATOMS * (long)(WIDEST_SUMS + WIDEST_FEATURES);
    const long tile = MOST_TILE_ATOMS * (long)(WIDEST_SUMS + 2 * WIDEST_FEATURES + WIDEST_GATE + READOUT_ROOM);
    const long line = ALIGNMENT / sizeof(real);
    return room_size() + (span + tile + line - 1) / line * line + TILE_SPARE;
  }
  explicit Scratch(real* from)
      : room(from),
        span_sums(from + room_size()),
        span_gradient(span_sums + SPAN_ATOMS * (long)WIDEST_SUMS),
        sums(span_gradient + SPAN_ATOMS * (long)WIDEST_FEATURES),
        outputs(sums + MOST_TILE_ATOMS * (long)WIDEST_SUMS),
        outputs_gradient(outputs + MOST_TILE_ATOMS * (long)WIDEST_FEATURES),
        gate_gradient(outputs_gradient + MOST_TILE_ATOMS * (long)WIDEST_FEATURES),
        readout(gate_gradient + MOST_TILE_ATOMS * (long)WIDEST_GATE) {}
};

struct Step : StepState {
  static constexpr bool ORDER_BY_TYPE = false;  // what an atom reads of its neighbours is near in memory
  Edges by_neighbour;
  Edges* incoming;
  Array<real> features[N_LAYERS], gate_inputs[N_LAYERS], sums_gradient[2], thread_scratch;

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
  void prepare_scratch(int n_threads) { thread_scratch.make_room((long)n_threads * Scratch::size()); }
};

}  // namespace
