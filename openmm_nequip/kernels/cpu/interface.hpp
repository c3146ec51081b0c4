// The functions that library.py calls: make a Step, evaluate a graph, let go of the Step.
//
// All arrays are the caller's: C-contiguous, in model units. positions (n_atoms, 3), cell (3, 3), types (n_atoms,),
// edge_index (2, n_edges), shifts (n_edges, 3) as in the rest of the package; energies (n_atoms,), forces (n_atoms, 3) and
// virial (3, 3) are written. Calls return an Answer of atom_order.hpp; exceptions never leave them. Weights and constants stay
// the caller's and must outlive the Step; the weights begin at a multiple of ALIGNMENT.
#pragma once
#include "whole_step.hpp"

extern "C" {

void* fused_create(const real* weights, const double* constants) {
  Step* step = new (std::nothrow) Step;
  if (step) {
    step->weights = weights;
    step->constants = constants;
  }
  return step;
}

void fused_destroy(void* step) { delete (Step*)step; }

// With `keep`, types, edges and shifts are those of the last call and are not read. Threads are as in evaluate().
int fused_evaluate(void* handle, int n_threads, int keep, int64_t n_atoms, int64_t n_edges, const int64_t* types,
                   const int64_t* edge_index, const double* shifts, const double* positions, const double* cell,
                   double* energies, double* forces, double* virial) {
  Step& step = *(Step*)handle;
  try {
    if (!keep || step.n_atoms != n_atoms || step.n_edges != n_edges)
      if (const Answer problem = set_graph(step, n_atoms, n_edges, types, edge_index, shifts, positions, cell)) return problem;
    for (int64_t a = 0; a < n_atoms; a++)
      for (int d = 0; d < 3; d++) step.positions[3 * a + d] = positions[3L * step.order[a] + d];
    evaluate(step, n_threads, cell, forces, virial);
    for (int64_t a = 0; a < n_atoms; a++) energies[step.order[a]] = step.energies[a];
  } catch (const std::bad_alloc&) {
    step.forget_edges();
    return OUT_OF_MEMORY;
  }
  return DONE;
}
}
