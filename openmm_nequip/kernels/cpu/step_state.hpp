// What one user of a model keeps from step to step, whatever the family of the model.
//
// Atoms have an order of the kernels' own here (atom_order.hpp): `order[a]` is the caller's number of atom a, `place[b]` the
// kernels' number of the caller's atom b. All other arrays are in the kernels' order unless they say so.
//
// The family's header (network_step.inc names it) makes a `Step` of it, with
//     ORDER_BY_TYPE                        whether atoms of one type are to lie together, or else those of one place
//     take_edges(n_atoms, n_edges, ...)    the lists of edges and all memory that depends on their number
//     prepare_scratch(n_threads)           memory of each thread
//     evaluate_share(step, share)          what one thread does of an evaluation
//
// Memory: each thread has forces and a virial of its own that are added in the end, so no two threads write to one place.
//
// | symbol             | meaning                                                                                         |
// | `weights`          | all weights of the model, packed by the generator                                               |
// | `constants`        | reciprocal cutoffs (N_TYPES, N_TYPES), scales, shifts and nuclear charges of the types, and what |
// |                    | else the family has                                                                             |
// | `by_centre`        | the edges, see edges.hpp                                                                        |
// | `reference_positions`, `reference_cell` | of a simulation: those for which the edges were found                      |
// | `n_followed`       | atoms of the simulation that is followed; -1 if there is none                                   |
// | `Share`            | what one thread has to do: atoms from `from` to `to`, and where its forces and its virial go    |
// | VIRIAL_ROOM        | room for nine numbers behind the forces of a thread, rounded up to a cache line                 |
#pragma once
#include "memory.hpp"
#include "model.inc"
#include "edges.hpp"
#include "threads.hpp"

namespace {

constexpr long VIRIAL_ROOM = 16;

struct StepState {
  const real* weights;
  const double* constants;
  Edges by_centre;
  long n_atoms = -1, n_edges = -1;
  Array<int> types, order, place;
  Array<double> positions, energies, thread_forces;
  Array<double> reference_positions;
  double reference_cell[9];
  long n_followed = -1;
  Threads* threads = nullptr;

  ~StepState() {
    if (threads && threads->is_here()) delete threads;
  }
  StepState() = default;
  StepState(const StepState&) = delete;

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

struct Share {
  int thread, from, to;
  const double* cell;
  double *forces, *virial;
};

}  // namespace
