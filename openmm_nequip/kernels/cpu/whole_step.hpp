// A whole evaluation: each thread does its share, then forces are added.
//
// Each thread takes atoms from bounds[t] to bounds[t + 1], with about the same number of edges, and evaluates them as the family
// of the model does (network_step.inc). Sums are made in a fixed order, so results are the same bit for bit for a number of
// threads.
//
//     1  evaluate_share: energies of the thread's atoms, forces and virial of its edges          (all wait)
//     2  forces of the threads added, in the caller's order
//
// | symbol          | meaning                                                                                           |
// | EDGES_PER_ATOM  | what an atom costs beside its edges, in edges, when threads get equal shares                       |
#pragma once
#include <limits>
#include "atom_order.hpp"

namespace {

constexpr long EDGES_PER_ATOM = 4;

// Atoms of each thread: equal shares of edges, and of atoms where there are few edges.
std::vector<int> share_atoms(const StepState& step, int n_threads) {
  std::vector<int> bounds(n_threads + 1, (int)step.n_atoms);
  bounds[0] = 0;
  const long all = step.n_edges + EDGES_PER_ATOM * step.n_atoms;
  for (int t = 1, a = 0; t < n_threads; t++) {
    while (a < step.n_atoms && (step.by_centre.row[a] + EDGES_PER_ATOM * a) * n_threads < all * t) a++;
    bounds[t] = a;
  }
  return bounds;
}

// Positions are step.positions and energies go to step.energies, in the kernels' order; forces are in the caller's. A negative
// number of threads asks for as many of OpenMP's. Without a length of some edge the first energy becomes NaN.
void evaluate(Step& step, int n_threads, const double* cell, double* forces, double* virial) {
  const long n_atoms = step.n_atoms;
  const bool borrowed = n_threads < 0 && Threads::can_borrow();
  n_threads = n_threads < 0 ? -n_threads : n_threads ? n_threads : 1;
  const int own = step.prepare_threads(borrowed ? 1 : n_threads);
  n_threads = borrowed ? n_threads : own;
  const std::vector<int> bounds = share_atoms(step, n_threads);
  const long room = 3 * n_atoms + VIRIAL_ROOM;  // forces of one thread, then its virial
  step.prepare_scratch(n_threads);
  step.thread_forces.make_room((long)n_threads * room);
  std::atomic<bool> all_good{true};
  Threads& threads = *step.threads;
  auto work = [&](int t) {
    const int from = bounds[t], to = bounds[t + 1];
    double *own_forces = step.thread_forces + t * room, *own_virial = own_forces + 3 * n_atoms;
    std::memset(own_forces, 0, room * sizeof(double));
    if (!evaluate_share(step, Share{t, from, to, cell, own_forces, own_virial})) all_good = false;
    threads.barrier();
    for (int a = from; a < to; a++)
      for (int d = 0; d < 3; d++) {
        double sum = 0;
        for (int other = 0; other < n_threads; other++) sum += step.thread_forces[other * room + 3L * a + d];
        forces[3L * step.order[a] + d] = sum;
      }
  };
  const auto call = [](void* context, int t) { (*(decltype(work)*)context)(t); };
  if (!borrowed) threads.run(n_threads, call, &work);
  else if (!threads.run_borrowed(n_threads, call, &work)) return evaluate(step, n_threads, cell, forces, virial);
  for (int i = 0; i < 9; i++) {
    virial[i] = 0;
    for (int t = 0; t < n_threads; t++) virial[i] += step.thread_forces[t * room + 3 * n_atoms + i];
  }
  if (!all_good) step.energies[0] = std::numeric_limits<double>::quiet_NaN();
}

}  // namespace
