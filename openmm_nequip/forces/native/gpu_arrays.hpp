// The arrays of a model on a device: weights, which particles are which nodes, lists of neighbours, features and gradients.
//
// Their meaning and layout are those of openmm_nequip/kernels/gpu (neighbors.cc, forces.cc, layer_kernels.py). Sites are the atoms
// of the model and, behind them, other particles at the ends of cut bonds; nodes are the atoms and the link caps.
#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include "native_force.hpp"
#include "openmm/common/ComputeArray.h"
#include "openmm/common/ComputeContext.h"

namespace NequIP {

namespace {

// Without a box: cells a side of the block that space is folded into, at least.
constexpr int FEWEST_CELLS = 3;
// Atoms that a cell may have on average before there are more cells without a box.
constexpr double ATOMS_PER_CELL = 4.0;
// More slots than a uniform liquid needs, for where it is denser.
constexpr double ROOM_FOR_DENSITY = 1.3;
// Slots of a node to begin with where nothing is known of the density.
constexpr int FIRST_SLOTS = 64;
// A node that has come this much nearer than the list knows is still in it: rounding of positions, relative to the radius.
constexpr double ROUNDING = 1e-5;

struct GpuModel {
  using ComputeArray = OpenMM::ComputeArray;
  OpenMM::ComputeContext& cc;
  // Whose positions and list of neighbours these are: another model's of the same nodes, or its own.
  GpuModel& lists;
  int n_types, n_atoms, n_caps, n_nodes, n_sites, slots = 0, warps, atoms, basis, cell_threads, most_cells;
  size_t number_bytes, mixed_bytes;
  double cutoff, skin, length_unit, energy_unit, constant_energy = 0;
  bool symmetric;
  std::vector<double> node_shifts;
  ComputeArray weights, scales, charges, reciprocal, types, region, room;
  ComputeArray site_of, place_of, offsets, sites, positions, old, frame, grid, state;
  ComputeArray cap_q, cap_m, cap_distance, caps_from, cap_list;
  ComputeArray cell_of, cell_start, cell_end, members;
  ComputeArray count, other, shift, mirror, unit, length;
  // In place of fractions the radial basis, where there are no tables.
  ComputeArray knot, fraction, knot_in, fraction_in, basis_out, basis_in, radial_gradient, unit_gradient;
  ComputeArray energies, told;
  std::vector<ComputeArray> features, gate_inputs, sums_gradient;

  GpuModel(OpenMM::ComputeContext& context, const Description& from, const OpenMM::System& system, GpuModel* lists_of)
      : cc(context), lists(lists_of ? *lists_of : *this) {
    const std::vector<int>&kind = from.integer("types"), &particles = from.integer("atoms"), &q = from.integer("cap_q"),
                          &m = from.integer("cap_m");
    const std::vector<double>& facts = from.number("facts");
    const std::vector<int>& sizes = from.integer("sizes");
    cutoff = facts.at(0), skin = facts.at(1), length_unit = facts.at(2), energy_unit = facts.at(3);
    number_bytes = sizes.at(0), symmetric = sizes.at(1), warps = sizes.at(2), atoms = sizes.at(3), cell_threads = sizes.at(5);
    slots = sizes.at(6), basis = sizes.at(7);
    n_types = (int)from.number("scales").size();
    mixed_bytes = cc.getUseDoublePrecision() || cc.getUseMixedPrecision() ? sizeof(double) : sizeof(float);
    if (number_bytes == sizeof(double) && !cc.getSupportsDoublePrecision())
      throw OpenMM::OpenMMException("the model computes in float64, which this device cannot; use another platform");
    n_atoms = (int)particles.size(), n_caps = (int)q.size(), n_nodes = n_atoms + n_caps;
    most_cells = std::max(64, n_nodes);
    fill(weights, from.number("weights"), number_bytes, "weights");
    fill(scales, from.number("scales"), number_bytes, "scales");
    fill(charges, from.number("charges"), mixed_bytes, "charges");
    fill(reciprocal, from.number("reciprocal"), mixed_bytes, "reciprocal");
    fill(types, kind, "types");
    for (int i : kind) {
      node_shifts.push_back(from.number("shifts").at(i));
      constant_energy += node_shifts.back() * energy_unit;
    }
    make(frame, 17, mixed_bytes, "frame");
    make(grid, 7, sizeof(int), "grid");
    make(energies, n_nodes, mixed_bytes, "energies");
    make_features(from, sizes.at(4));
    if (owns_list()) make_list(from, particles, q, m, system.getNumParticles());
    else n_sites = lists.n_sites;
  }

  bool owns_list() const { return &lists == this; }

  void make_list(const Description& from, const std::vector<int>& particles, const std::vector<int>& q, const std::vector<int>& m,
                 int n_system) {
    fill(region, from.integer("region"), "region");
    place_particles(particles, q, m, n_system);
    fill(cap_distance, from.number("cap_distance"), mixed_bytes, "cap_distance");
    make(state, 4, sizeof(int), "state");
    state.upload(std::vector<int>{1, 1, 0, 0});
    make(offsets, 4 * cc.getPaddedNumAtoms(), sizeof(int), "offsets");
    offsets.upload(std::vector<int>(4 * cc.getPaddedNumAtoms(), 0));
    for (auto* array : {&positions, &old}) make(*array, 3 * (size_t)n_nodes, mixed_bytes, "positions");
    make(sites, 3 * (size_t)n_sites, mixed_bytes, "sites");
    for (auto* array : {&cell_of, &members, &count}) make(*array, n_nodes, sizeof(int), "cells");
    for (auto* array : {&cell_start, &cell_end}) make(*array, most_cells, sizeof(int), "cells");
  }

  // Room for neighbours.
  void make_slots(int wanted) {
    slots = (wanted + 7) / 8 * 8;
    const size_t all = (size_t)n_nodes * slots;
    if (all > 2147483647 / 3)
      throw OpenMM::OpenMMException("NequIP: lists of " + std::to_string(slots) + " neighbours of " + std::to_string(n_nodes) +
                                    " atoms are too long for one device");
    if (owns_list()) {
      for (auto* array : {&other, &shift, &mirror}) make(*array, all, sizeof(int), "slots");
      make(unit, 3 * all, number_bytes, "unit");
      make(length, all, mixed_bytes, "length");
    }
    make(knot, all, sizeof(int), "slots");
    make(fraction, all, number_bytes, "fraction");
    if (basis) make(basis_out, 2 * basis * all, number_bytes, "basis");
    make(radial_gradient, all, number_bytes, "radial_gradient");
    make(unit_gradient, 3 * all, number_bytes, "unit_gradient");
    if (!symmetric) {
      make(knot_in, all, sizeof(int), "knot_in");
      make(fraction_in, all, number_bytes, "fraction_in");
      if (basis) make(basis_in, 2 * basis * all, number_bytes, "basis_in");
    }
  }
  ComputeArray& knots_in() { return symmetric ? knot : knot_in; }
  ComputeArray& fractions_in() { return symmetric ? fraction : fraction_in; }
  // What the layers' kernels get of each edge, for those from a node and those to it.
  ComputeArray& radial_out() { return basis ? basis_out : fraction; }
  ComputeArray& radial_in() { return !basis ? fractions_in() : symmetric ? basis_out : basis_in; }

  // The next step makes a list, and takes positions as they are.
  void forget_list() {
    const int fresh[3] = {1, 1, 0};
    state.uploadSubArray(fresh, 0, 3);
  }

  // Box vectors in nm; cells for it.
  void set_box(const OpenMM::Vec3* box, bool periodic) {
    std::vector<double> values(17, 0.0);
    std::vector<int> cells(7, 1);
    const double reach = (cutoff + skin) * (1 + ROUNDING);
    OpenMM::Vec3 cell[3];
    for (int a = 0; a < 3; a++) {
      cell[a] = box[a] * (1 / length_unit);
      for (int b = 0; b < 3; b++) values[3 * a + b] = cell[a][b];
      values[9 + a] = 1 / reach;
    }
    values[12] = 1 / length_unit;
    values[13] = 0.25 * skin * skin * (1 - ROUNDING);
    values[14] = reach * reach;
    values[15] = energy_unit / length_unit;
    values[16] = energy_unit;
    cells[6] = periodic;
    double volume = cell[0][0] * cell[1][1] * cell[2][2], widths[3];
    for (int a = 0; a < 3; a++) {
      const OpenMM::Vec3 side = cell[(a + 1) % 3].cross(cell[(a + 2) % 3]);
      widths[a] = volume / std::sqrt(side.dot(side));
      if (periodic) cells[a] = (int)std::min(1000.0, std::max(1.0, std::floor(widths[a] / reach)));
      else cells[a] = std::max(FEWEST_CELLS, (int)std::ceil(std::cbrt(n_nodes / ATOMS_PER_CELL)));
    }
    for (int* most; (long)cells[0] * cells[1] * cells[2] > most_cells; *most = (*most + 1) / 2)
      most = std::max_element(cells.data(), cells.data() + 3);
    for (int a = 0; a < 3; a++)
      cells[3 + a] = periodic ? (int)std::ceil(reach * cells[a] / widths[a] + ROUNDING) : 1;
    frame.upload(values, true);
    grid.upload(cells);
    if (!owns_list()) {
      if (slots != lists.slots || !knot.isInitialized()) make_slots(lists.slots);
    } else if (!slots || !other.isInitialized()) {
      const double sphere = 4.0 / 3.0 * M_PI * reach * reach * reach;
      const double guess = periodic ? std::ceil(ROOM_FOR_DENSITY * sphere * n_nodes / volume) + 16 : FIRST_SLOTS;
      make_slots(slots ? slots : (int)std::min(guess, 1e6));
    }
  }

 private:
  void make(ComputeArray& array, size_t count, size_t bytes, const std::string& name) {
    if (array.isInitialized()) array.resize(std::max<size_t>(1, count));
    else array.initialize(cc, std::max<size_t>(1, count), (int)bytes, "nequip_" + name);
  }
  void fill(ComputeArray& array, std::vector<double> values, size_t bytes, const std::string& name) {
    make(array, values.size(), bytes, name);
    if (values.empty()) values.push_back(0);
    array.upload(values, true);
  }
  void fill(ComputeArray& array, std::vector<int> values, const std::string& name) {
    make(array, values.size(), sizeof(int), name);
    if (values.empty()) values.push_back(0);
    array.upload(values);
  }

  // Sites, and which caps pull at each.
  void place_particles(const std::vector<int>& particles, const std::vector<int>& q, const std::vector<int>& m, int n_system) {
    std::vector<int> site(cc.getPaddedNumAtoms(), -1);
    n_sites = 0;
    auto visit = [&](int particle) {
      if (particle < 0 || particle >= n_system)
        throw OpenMM::OpenMMException("NequIP: the force names particle " + std::to_string(particle) + " of a System of " +
                                      std::to_string(n_system));
      if (site[particle] < 0) site[particle] = n_sites++;
      return site[particle];
    };
    for (int particle : particles) visit(particle);
    if (n_sites != n_atoms) throw OpenMM::OpenMMException("NequIP: the force names a particle twice");
    std::vector<int> q_sites, m_sites, from, list;
    for (int particle : q) q_sites.push_back(visit(particle));
    for (int particle : m) m_sites.push_back(visit(particle));
    for (int s = 0; s < n_sites; s++) {
      from.push_back((int)list.size());
      for (int c = 0; c < n_caps; c++) {
        if (q_sites[c] == s) list.push_back(2 * c);
        if (m_sites[c] == s) list.push_back(2 * c + 1);
      }
    }
    from.push_back((int)list.size());
    fill(site_of, site, "site_of");
    make(place_of, n_sites, sizeof(int), "place_of");
    fill(cap_q, q_sites, "cap_q");
    fill(cap_m, m_sites, "cap_m");
    fill(caps_from, from, "caps_from");
    fill(cap_list, list, "cap_list");
  }

  void make_features(const Description& from, size_t room_width) {
    const std::vector<int>&inputs = from.integer("inputs"), &middle = from.integer("middle"), &gate = from.integer("gate");
    const size_t n = n_nodes;
    features = std::vector<ComputeArray>(inputs.size());
    gate_inputs = std::vector<ComputeArray>(inputs.size());
    sums_gradient = std::vector<ComputeArray>(2);
    for (size_t k = 0; k < inputs.size(); k++) {
      make(features[k], n * inputs[k], number_bytes, "features");
      make(gate_inputs[k], n * gate[k], number_bytes, "gate_inputs");
    }
    for (auto& array : sums_gradient) make(array, n * *std::max_element(middle.begin(), middle.end()), number_bytes, "sums");
    make(room, n * room_width, number_bytes, "room");
  }
};

}  // namespace

}  // namespace NequIP
