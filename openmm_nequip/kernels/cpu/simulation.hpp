// A step of a simulation in one call: units, the question whether the list of edges still holds, the model, and whether
// everything is finite. stepper.py calls these functions.
//
// The edges hold candidates up to a distance beyond the cutoff. They hold as long as no atom has moved by more than `reach`
// (half of that distance) from where it was when they were found, and the cell is the same:
//     max over atoms of |r - r_reference|^2 <= reach^2
//
// | symbol    | meaning                                                                        |
// | `length`  | the model's unit of length in that of the caller                               |
// | `energy_unit` | the model's unit of energy in that of the caller                           |
// | `reach`   | in the model's unit                                                            |
// | `box`     | box vectors in the caller's unit; null where nothing is periodic               |
#pragma once
#include "whole_step.hpp"

extern "C" {

// The edges from now on, with the positions and the cell (model units) that they were found for; arrays as of fused_evaluate.
int fused_set(void* handle, int64_t n_atoms, int64_t n_edges, const int64_t* types, const int64_t* edge_index,
              const double* shifts, const double* positions, const double* cell) {
  Step& step = *(Step*)handle;
  try {
    if (const Answer problem = set_graph(step, n_atoms, n_edges, types, edge_index, shifts, positions, cell)) return problem;
    step.reference_positions.make_room(3 * n_atoms);
  } catch (const std::bad_alloc&) {
    step.forget_edges();
    return OUT_OF_MEMORY;
  }
  for (int64_t a = 0; a < n_atoms; a++)
    for (int d = 0; d < 3; d++) step.reference_positions[3 * a + d] = positions[3L * step.order[a] + d];
  std::memcpy(step.reference_cell, cell, sizeof step.reference_cell);
  step.n_followed = n_atoms;
  return DONE;
}

// Energy and forces in the caller's units. STALE if the edges must be set first: an atom has moved too far, the cell has
// changed, or there are none.
int fused_advance(void* handle, int n_threads, int64_t n_atoms, double length, double energy_unit, double reach,
                  const double* positions, const double* box, double* energy, double* forces) {
  Step& step = *(Step*)handle;
  if (step.n_followed != n_atoms) return STALE;
  double cell[9], virial[9], sum_of_squares = 0, farthest = 0;
  for (int i = 0; i < 9; i++) cell[i] = box ? box[i] / length : step.reference_cell[i];
  for (int64_t a = 0; a < n_atoms; a++) {
    double moved = 0;
    for (int d = 0; d < 3; d++) {
      const double x = positions[3L * step.order[a] + d] / length, shift = x - step.reference_positions[3 * a + d];
      step.positions[3 * a + d] = x;
      moved += shift * shift;
      sum_of_squares += x * x;
    }
    farthest = moved > farthest ? moved : farthest;
  }
  if (!std::isfinite(sum_of_squares)) return BAD_POSITIONS;
  if (farthest > reach * reach || std::memcmp(cell, step.reference_cell, sizeof cell) != 0) return STALE;
  try {
    evaluate(step, n_threads, cell, forces, virial);
  } catch (const std::bad_alloc&) {
    step.forget_edges();
    return OUT_OF_MEMORY;
  }
  double total = 0, check = 0;
  for (int64_t a = 0; a < n_atoms; a++) total += step.energies[a];
  for (int64_t i = 0; i < 3 * n_atoms; i++) {
    forces[i] *= energy_unit / length;
    check += forces[i];
  }
  *energy = total * energy_unit;
  return std::isfinite(*energy + check) ? DONE : BAD_RESULT;
}
}
