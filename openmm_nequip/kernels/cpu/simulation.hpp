// A step of a simulation: units, the question whether the list of edges still holds, and whether everything is finite.
// Included after the driver.

extern "C" {

// The edges from now on, and the positions and cell (in the model's unit) that they were found for; as fused_evaluate.
int fused_set(void* step, int64_t n, int64_t edges, const int64_t* types, const int64_t* edge_index, const double* shifts,
              const double* pos, const double* cell) {
  Step& s = *(Step*)step;
  try {
    if (const int problem = set_graph(s, n, edges, types, edge_index, shifts, pos, cell)) return problem;
    s.old = s.m_old.of<double>(3 * n);
  } catch (const std::bad_alloc&) {
    s.n = s.followed = -1;
    return OUT_OF_MEMORY;
  }
  for (int64_t i = 0; i < n; i++)
    for (int a = 0; a < 3; a++) s.old[3 * i + a] = pos[3L * s.order[i] + a];
  std::memcpy(s.old_cell, cell, sizeof s.old_cell);
  s.followed = n;
  return DONE;
}

// Energy and forces in the caller's units: the model's are `length` and `unit` of those. STALE if the edges must be set
// first: an atom has moved by more than `reach` (in the model's unit), or the cell has changed, or there are none.
// Without `box` nothing is periodic, and the cell stays that of the edges.
int fused_advance(void* step, int threads, int64_t n, double length, double unit, double reach, const double* positions,
                  const double* box, double* energy, double* forces) {
  Step& s = *(Step*)step;
  if (s.followed != n) return STALE;
  double cell[9], virial[9], sum = 0, farthest = 0;
  for (int a = 0; a < 9; a++) cell[a] = box ? box[a] / length : s.old_cell[a];
  for (int64_t i = 0; i < n; i++) {
    double moved = 0;
    for (int a = 0; a < 3; a++) {
      const double x = positions[3L * s.order[i] + a] / length, d = x - s.old[3 * i + a];
      s.pos[3 * i + a] = x;
      moved += d * d;
      sum += x * x;
    }
    farthest = moved > farthest ? moved : farthest;
  }
  if (!std::isfinite(sum)) return BAD_POSITIONS;
  if (farthest > reach * reach || std::memcmp(cell, s.old_cell, sizeof cell) != 0) return STALE;
  try {
    run(s, threads, cell, forces, virial);
  } catch (const std::bad_alloc&) {
    s.n = s.followed = -1;
    return OUT_OF_MEMORY;
  }
  double total = 0, check = 0;
  for (int64_t i = 0; i < n; i++) total += s.energies[i];
  for (int64_t q = 0; q < 3 * n; q++) {
    forces[q] *= unit / length;
    check += forces[q];
  }
  *energy = total * unit;
  return std::isfinite(*energy + check) ? DONE : BAD_RESULT;
}
}
