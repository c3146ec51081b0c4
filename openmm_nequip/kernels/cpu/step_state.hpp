// Everything that one user of a model keeps from step to step.
//
// Atoms have an order of the kernels' own here (atom_order.hpp): `order[a]` is the caller's number of atom a, `place[b]` the
// kernels' number of the caller's atom b. All other arrays are in the kernels' order unless they say so.
//
// Memory: features[k] holds what the convolution of layer k reads, rows of features_width, for all atoms; gate_inputs[k] holds
// y of layer k (network.hpp), and from the backward pass of that layer on its gradient. The gradients of A are needed for one
// layer at a time, so two arrays take turns: sums_gradient[k % 2]. Each thread has scratch memory for a tile, and forces and a
// virial of its own that are added in the end, so no two threads write to one place.
//
// | symbol             | meaning                                                                                         |
// | `weights`          | all weights of the model, packed by the generator                                               |
// | `constants`        | reciprocal cutoffs (N_TYPES, N_TYPES), scales, shifts and nuclear charges of the types           |
// | `by_centre`, `by_neighbour` | the edges twice, see edges.hpp                                                         |
// | `incoming`         | the list by neighbour: `by_neighbour`, or `by_centre` where edges have their mirror images       |
// | `reference_positions`, `reference_cell` | of a simulation: those for which the edges were found                      |
// | `n_followed`       | atoms of the simulation that is followed; -1 if there is none                                   |
// | TILE_SPARE         | numbers between the scratch memory of two threads: they do not share a cache line                |
// | VIRIAL_ROOM        | room for nine numbers behind the forces of a thread, rounded up for the same reason              |
#pragma once
#include "memory.hpp"
#include "model.inc"
#include "threads.hpp"

namespace {

constexpr long TILE_SPARE = 64, VIRIAL_ROOM = 16;

struct Step {
  const real* weights;
  const double* constants;
  Edges by_centre, by_neighbour;
  Edges* incoming;
  long n_atoms = -1, n_edges = -1;
  Array<int> types, order, place;
  Array<double> positions, energies, thread_forces;
  Array<real> features[N_LAYERS], gate_inputs[N_LAYERS], sums_gradient[2], scratch;
  Array<double> reference_positions;
  double reference_cell[9];
  long n_followed = -1;
  Threads* threads = nullptr;

  ~Step() {
    if (threads && threads->is_here()) delete threads;
  }
  Step() = default;
  Step(const Step&) = delete;

  // As many threads as can be had, `wanted` at most. After a fork the old ones are left alone.
  int prepare_threads(int wanted) {
    if (!threads || !threads->is_here()) threads = new Threads;
    return threads->prepare(wanted);
  }
  void forget_edges() { n_atoms = n_followed = -1; }

  double reciprocal_cutoff(int centre, int neighbour) const { return constants[centre * N_TYPES + neighbour]; }
  const double* scales() const { return constants + N_TYPES * N_TYPES; }
  const double* shifts() const { return scales() + N_TYPES; }
  const double* charges() const { return shifts() + N_TYPES; }
};

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

}  // namespace
