// The kernels of one model on a device, and the order in which they are launched.
#pragma once
#include <memory>
#include "gpu_arrays.hpp"
#include "openmm/common/ComputeEvent.h"

namespace NequIP {

namespace {

// Numbers that the kernel `tell` gives for a node.
constexpr int TOLD = 10;

class ModelRun {
 public:
  using ComputeArray = OpenMM::ComputeArray;
  using ComputeKernel = OpenMM::ComputeKernel;

  // `lists`: another run that makes the list of neighbours, null for one of its own. `number`: of the run in its force.
  ModelRun(OpenMM::ComputeContext& context, const Description& from, const OpenMM::System& system, int atoms_together,
           ModelRun* lists, int number)
      : cc(context), model(context, from, system, lists ? &lists->model : nullptr), teams(atoms_together), number(number) {
    event = cc.createEvent();
  }

  void use(OpenMM::ComputeProgram compiled) {
    program = compiled;
    if (model.owns_list()) make_list_kernels();
  }

  void set_box(const OpenMM::Vec3* box, bool periodic) {
    model.set_box(box, periodic);
    if (!geometry) bind_slots();
  }

  // The model as far as the gradients of its edges; the list is made early in the queue, and what it lacks is asked for there.
  void begin(bool with_forces) {
    GpuModel& m = model;
    if (m.owns_list()) {
      gather->execute(cc.getNumAtoms());
      if (m.n_caps) place_caps->execute(m.n_caps);
      sort_into_cells->execute(m.cell_threads, m.cell_threads);
      find->execute(m.n_nodes);
      m.state.download(answer(), false);
      event->enqueue();
    }
    geometry->execute(m.n_nodes * m.slots);
    for (auto& kernel : radial_basis) kernel->execute(m.n_nodes * m.slots);
    const int block = 32 * m.warps * teams;
    const int threads = (m.n_nodes + teams - 1) / teams * block;
    for (auto& kernel : forward) kernel->execute(threads, block);
    if (with_forces)
      for (auto& kernel : backward) kernel->execute(threads, block);
  }

  void give(bool with_forces) {
    into_buffers->setArg(5, (int)with_forces);
    into_buffers->execute(std::max(model.n_sites, model.n_nodes));
  }

  // TOLD numbers of each node, after begin().
  std::vector<double> tell() {
    GpuModel& m = model;
    if (!m.told.isInitialized()) m.told.initialize(cc, TOLD * (size_t)m.n_nodes, (int)m.mixed_bytes, "nequip_told");
    if (!tells) {
      tells = make("tell");
      tells->addArg(m.n_nodes);
      tells->addArg(m.slots);
      add_edges(tells);
      for (auto* array : {&m.energies, &m.told, &m.lists.state}) tells->addArg(*array);
    }
    tells->execute(m.n_nodes);
    std::vector<double> found(TOLD * (size_t)m.n_nodes);
    if (m.mixed_bytes == sizeof(double)) m.told.download(found);
    else {
      std::vector<float> single(found.size());
      m.told.download(single);
      found.assign(single.begin(), single.end());
    }
    for (int i = 0; i < m.n_nodes; i++) found[TOLD * (size_t)i] += m.node_shifts[i];
    return found;
  }

  // Waits for the list, while the rest of the step runs; whether it lacked room, of which there is more then.
  bool grown() {
    if (!model.owns_list()) return false;
    event->wait();
    const int found = answer()[2];
    if (found <= 0) return false;
    grow(std::max(found, model.slots + model.slots / 4));
    model.forget_list();
    return true;
  }
  void grow(int slots) {
    model.make_slots(slots);
    bind_slots();
  }

  OpenMM::ComputeContext& cc;
  GpuModel model;

 private:
  int* answer() { return (int*)cc.getPinnedBuffer() + 4 * number; }
  ComputeKernel make(const std::string& name) { return program->createKernel(name); }

  void make_list_kernels() {
    GpuModel& m = model;
    gather = make("gather");
    gather->addArg(cc.getNumAtoms());
    gather->addArg(m.n_atoms);
    gather->addArg(cc.getPosq());
    gather->addArg(cc.getUseMixedPrecision() ? cc.getPosqCorrection() : cc.getPosq());
    gather->addArg(cc.getAtomIndexArray());
    for (auto* array : {&m.offsets, &m.site_of, &m.place_of, &m.sites, &m.positions, &m.old, &m.frame, &m.grid, &m.state})
      gather->addArg(*array);
    place_caps = make("place_caps");
    place_caps->addArg(m.n_caps);
    place_caps->addArg(m.n_atoms);
    for (auto* array :
         {&m.cap_q, &m.cap_m, &m.cap_distance, &m.sites, &m.positions, &m.old, &m.frame, &m.grid, &m.state})
      place_caps->addArg(*array);
    sort_into_cells = make("sort_into_cells");
    sort_into_cells->addArg(m.n_nodes);
    for (auto* array :
         {&m.state, &m.positions, &m.old, &m.frame, &m.grid, &m.cell_of, &m.cell_start, &m.cell_end, &m.members})
      sort_into_cells->addArg(*array);
  }

  // Kernels with arguments that depend on the room for neighbours; made anew where it grows.
  void bind_slots() {
    GpuModel &m = model, &l = model.lists;
    if (m.owns_list()) {
      find = make("find");
      find->addArg(m.n_nodes);
      find->addArg(m.slots);
      for (auto* array : {&m.state, &m.positions, &m.frame, &m.grid, &m.region, &m.cell_of, &m.cell_start, &m.cell_end,
                          &m.members, &m.count, &m.other, &m.shift})
        find->addArg(*array);
    }
    geometry = make("geometry");
    geometry->addArg(m.n_nodes);
    geometry->addArg(m.slots);
    for (auto* array : {&l.count, &l.other, &l.shift, &l.positions, &m.types, &m.frame, &m.reciprocal, &l.state, &m.knot,
                        &m.fraction, &m.knots_in(), &m.fractions_in(), &l.unit, &l.length, &l.mirror})
      geometry->addArg(*array);
    radial_basis.clear();
    for (int incoming = 0; m.basis && incoming < (m.symmetric ? 1 : 2); incoming++) {
      ComputeKernel kernel = make("radial_basis");
      for (int value : {m.n_nodes, m.slots, incoming}) kernel->addArg(value);
      for (auto* array : {&l.count, &l.other, &m.types, incoming ? &m.knot_in : &m.knot, &m.reciprocal, &l.length,
                          incoming ? &m.basis_in : &m.basis_out})
        kernel->addArg(*array);
      radial_basis.push_back(kernel);
    }
    bind_layers();
    into_buffers = make("give");
    for (int value : {m.n_sites, m.n_atoms, m.n_nodes, m.slots, cc.getPaddedNumAtoms(), 1}) into_buffers->addArg(value);
    add_edges(into_buffers);
    for (auto* array : {&l.caps_from, &l.cap_list, &l.cap_q, &l.cap_m, &l.cap_distance, &l.sites, &m.frame, &m.grid,
                        &l.place_of, &m.energies})
      into_buffers->addArg(*array);
    into_buffers->addArg(cc.getLongForceBuffer());
    into_buffers->addArg(cc.getEnergyBuffer());
    into_buffers->addArg(l.state);
    tells = ComputeKernel();
  }

  // What `give` and `tell` know of edges.
  void add_edges(ComputeKernel& kernel) {
    GpuModel &m = model, &l = model.lists;
    for (auto* array : {&l.count, &l.other, &l.mirror, &m.types, &m.knot, &m.knots_in(), &m.reciprocal, &m.charges, &l.unit,
                        &l.length, &m.radial_gradient, &m.unit_gradient})
      kernel->addArg(*array);
  }

  void bind_layers() {
    GpuModel &m = model, &l = model.lists;
    const int last = (int)m.features.size() - 1;
    forward.clear();
    backward.clear();
    auto begin = [&](const std::string& name, ComputeArray& knot, ComputeArray& radial) {
      ComputeKernel kernel = make(name);
      kernel->addArg(m.n_nodes);
      kernel->addArg(m.slots);
      for (auto* array : {&l.count, &l.other, &m.types, &knot, &radial, &l.unit, &m.weights, &m.scales, &m.room})
        kernel->addArg(*array);
      return kernel;
    };
    for (int k = 0; k <= last; k++) {
      const int next = std::min(k + 1, last);
      ComputeKernel kernel = begin("forward_" + std::to_string(k), m.knot, m.radial_out());
      for (auto* array : {&m.features[k], &m.gate_inputs[k], &m.features[next], &m.gate_inputs[next], &m.energies,
                          &m.sums_gradient[last % 2]})
        kernel->addArg(*array);
      forward.push_back(kernel);
    }
    for (int k = last; k >= 0; k--) {
      ComputeKernel kernel = begin("backward_" + std::to_string(k), m.knots_in(), m.radial_in());
      for (auto* array : {&m.features[k], &m.sums_gradient[k % 2], &m.gate_inputs[k], &m.gate_inputs[std::max(k - 1, 0)],
                          &m.sums_gradient[(k + 1) % 2], &m.radial_gradient, &m.unit_gradient})
        kernel->addArg(*array);
      backward.push_back(kernel);
    }
  }

  // Atoms that a group of threads takes together.
  const int teams, number;
  OpenMM::ComputeEvent event;
  OpenMM::ComputeProgram program;
  ComputeKernel gather, place_caps, sort_into_cells, find, geometry, into_buffers, tells;
  std::vector<ComputeKernel> radial_basis, forward, backward;
};

}  // namespace

}  // namespace NequIP
