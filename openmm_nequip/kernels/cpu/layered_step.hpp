// The share of one thread in an evaluation of a NequIP model: layer by layer, span by span.
//
// Between two layers all threads wait for each other, because a layer reads the features that the others have made.
//
//     1  edges within the cutoff, their geometry, gradients of edges set to zero       (all wait)
//     2  for k = 0 .. N_LAYERS - 1: forward_span                                       (all wait after each layer)
//     3  for k = N_LAYERS - 1 .. 0: backward_span                                      (all wait after each layer but the last)
//     4  forces of the thread's edges, repulsion
//
// | symbol          | meaning                                                                                           |
// | SPAN_ATOMS      | atoms in a span (model.inc), whose convolution is made in one go                                   |
#pragma once
#include "layers.hpp"
#include "pair_forces.hpp"

namespace {

// Geometry of a share. False if an edge has no length.
bool measure_share(Step& step, const Share& share) {
  bool good = true;
  int next_by_centre = share.from < step.n_atoms ? step.by_centre.row[share.from] : 0;
  int next_by_neighbour = share.from < step.n_atoms ? step.by_neighbour.row[share.from] : 0;
  for (int a = share.from; a < share.to; a++) {
    good = measure_edges(step.by_centre, a, CENTRE, step.positions, share.cell, step.types, step.constants, next_by_centre) &&
           good;
    if (step.incoming == &step.by_neighbour)
      good = measure_edges(step.by_neighbour, a, NEIGHBOUR, step.positions, share.cell, step.types, step.constants,
                           next_by_neighbour) && good;
    Edges& edges = *step.incoming;
    const int first = edges.first[a], count = edges.count[a];
    clear(edges.radial_gradient + first, count);
    for (int d = 0; d < 3; d++) clear(edges.direction_gradient[d] + first, count);
  }
  return good;
}

// Forces and virial of the edges of which a share's atoms are the neighbours, LANES edges at once.
void add_edge_forces(const Step& step, const Share& share) {
  if (share.from == share.to) return;
  const Edges& edges = *step.incoming;
  const int end = edges.first[share.to - 1] + edges.count[share.to - 1];
  wide virial[6] = {};
  int atom = share.from;
  for (int e = edges.first[share.from]; e < end; e += LANES) {
    const int n = end - e < LANES ? end - e : LANES;
    wide r, chain, u[3], h[3], gradient[3];
    vec slope;
    if (n == LANES) {
      r = load_wide(edges.length + e);
      chain = load_wide(edges.chain + e);
      slope = load_unaligned(edges.radial_gradient + e);
      for (int d = 0; d < 3; d++) {
        u[d] = widened(edges.sign * load_unaligned(edges.direction[d] + e));
        h[d] = widened(load_unaligned(edges.direction_gradient[d] + e));
      }
    } else {  // behind the share's last edge: vectors without direction, which give no force
      r = chain = wide{} + 1.0;
      slope = vec{};
      for (int d = 0; d < 3; d++) u[d] = h[d] = wide{};
      for (int i = 0; i < n; i++) {
        r[i] = edges.length[e + i];
        chain[i] = edges.chain[e + i];
        slope[i] = edges.radial_gradient[e + i];
        for (int d = 0; d < 3; d++) {
          u[d][i] = edges.sign * edges.direction[d][e + i];
          h[d][i] = edges.direction_gradient[d][e + i];
        }
      }
    }
    wide radial = widened(slope) * chain;
#if REPULSION
    for (int i = 0, owner = atom; i < n; i++) {
      while (e + i >= edges.first[owner] + edges.count[owner]) owner++;
      double repulsive = 0;
      add_repulsion_slope(step, edges.type[e + i], step.types[owner], r[i], repulsive);
      radial[i] += repulsive;
    }
#endif
    edge_gradient(radial, h, u, r, gradient, virial);
    double each[3][LANES];
    for (int d = 0; d < 3; d++) std::memcpy(each[d], &gradient[d], sizeof each[d]);
    for (int i = 0; i < n; i++) {
      while (e + i >= edges.first[atom] + edges.count[atom]) atom++;
      double *own = share.forces + 3L * atom, *centre = share.forces + 3L * edges.other[e + i];
      for (int d = 0; d < 3; d++) {
        centre[d] += each[d][i];
        own[d] -= each[d][i];
      }
    }
  }
  add_virial(virial, share.virial);
}

// False if an edge has no length.
bool evaluate_share(Step& step, const Share& share) {
  const auto stop_of = [&share](int start) { return start + SPAN_ATOMS < share.to ? start + SPAN_ATOMS : share.to; };
  const Scratch scratch(step.thread_scratch + (long)share.thread * Scratch::size());
  const bool good = measure_share(step, share);
  step.threads->barrier();
  for (int k = 0; k < N_LAYERS; k++) {
    for (int a = share.from; a < share.to; a += SPAN_ATOMS) forward_span(step, k, a, stop_of(a), scratch, step.energies);
    step.threads->barrier();
  }
  for (int k = N_LAYERS - 1; k >= 0; k--) {
    for (int a = share.from; a < share.to; a += SPAN_ATOMS) backward_span(step, k, a, stop_of(a), scratch);
    if (k) step.threads->barrier();
  }
  add_edge_forces(step, share);
  for (int a = share.from; a < share.to; a++) add_repulsion(step, a, step.energies[a]);
  return good;
}

}  // namespace
