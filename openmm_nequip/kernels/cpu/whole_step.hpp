// A whole evaluation: geometry, layers forward, readout, layers backward, forces.
//
// Each thread takes atoms from bounds[t] to bounds[t + 1], tile by tile, with about the same number of edges; between two layers
// all wait for each other, because a layer reads the features that the others have made. Sums are made in a fixed order, so
// results are the same bit for bit for a number of threads.
//
//     1  edges within the cutoff, their geometry, gradients of edges set to zero       (all wait)
//     2  for k = 0 .. N_LAYERS - 1: forward_tile                                       (all wait after each layer)
//     3  for k = N_LAYERS - 1 .. 0: backward_tile                                      (all wait after each layer but the last)
//     4  forces of each thread's edges, repulsion                                      (all wait)
//     5  forces of the threads added, in the caller's order
//
// | symbol          | meaning                                                                                           |
// | TILE_ATOMS      | atoms in a tile (model.inc): their rows and the tables share the cache                             |
// | EDGES_PER_ATOM  | what an atom costs beside its edges, in edges, when threads get equal shares                       |
#pragma once
#include <limits>
#include "atom_order.hpp"
#include "layers.hpp"
#include "pair_forces.hpp"

namespace {

constexpr long EDGES_PER_ATOM = 4;

// Thread t of `n_threads`: its atoms from `from` to `to`. False if an edge has no length.
bool measure_share(Step& step, const double* cell, int from, int to) {
  bool good = true;
  int next_by_centre = from < step.n_atoms ? step.by_centre.row[from] : 0;
  int next_by_neighbour = from < step.n_atoms ? step.by_neighbour.row[from] : 0;
  for (int a = from; a < to; a++) {
    good = measure_edges(step.by_centre, a, CENTRE, step.positions, cell, step.types, step.constants, next_by_centre) && good;
    if (step.incoming == &step.by_neighbour)
      good = measure_edges(step.by_neighbour, a, NEIGHBOUR, step.positions, cell, step.types, step.constants,
                           next_by_neighbour) && good;
    Edges& edges = *step.incoming;
    const int first = edges.first[a], count = edges.count[a];
    clear(edges.radial_gradient + first, count);
    for (int d = 0; d < 3; d++) clear(edges.direction_gradient[d] + first, count);
  }
  return good;
}

// Atoms of each thread: equal shares of edges, and of atoms where there are few edges.
std::vector<int> share_atoms(const Step& step, int n_threads) {
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
  step.scratch.make_room((long)n_threads * TileRows::size());
  step.thread_forces.make_room((long)n_threads * room);
  std::atomic<bool> all_good{true};
  Threads& threads = *step.threads;
  auto work = [&](int t) {
    const int from = bounds[t], to = bounds[t + 1];
    const auto stop_of = [to](int start) { return start + TILE_ATOMS < to ? start + TILE_ATOMS : to; };
    const TileRows rows(step.scratch + (long)t * TileRows::size());
    double *own_forces = step.thread_forces + t * room, *own_virial = own_forces + 3 * n_atoms;
    std::memset(own_forces, 0, room * sizeof(double));
    if (!measure_share(step, cell, from, to)) all_good = false;
    threads.barrier();
    for (int k = 0; k < N_LAYERS; k++) {
      for (int a = from; a < to; a += TILE_ATOMS) forward_tile(step, k, a, stop_of(a), rows, step.energies);
      threads.barrier();
    }
    for (int k = N_LAYERS - 1; k >= 0; k--) {
      for (int a = from; a < to; a += TILE_ATOMS) backward_tile(step, k, a, stop_of(a), rows);
      if (k) threads.barrier();
    }
    for (int a = from; a < to; a++) {
      add_edge_forces(step, a, own_forces, own_virial);
      add_repulsion(step, a, step.energies[a]);
    }
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
