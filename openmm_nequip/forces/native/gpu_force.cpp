// The force on a platform of GPUs: positions, the list of neighbours, the model and its forces stay on the device.
//
// Compiled once for each platform, with PLATFORM_NAME and PLATFORM_CLASS, against OpenMM's headers alone: a platform's context is
// known by its base class ComputeContext, so no header of CUDA, HIP or OpenCL is needed. The kernels, their arrays and the path
// of a step are described in openmm_nequip/kernels/gpu.
#include "gpu_arrays.hpp"
#include "openmm/KernelFactory.h"
#include "openmm/common/ComputeEvent.h"
#include "openmm/common/ContextSelector.h"
#include "openmm/common/NonbondedUtilities.h"
#include PLATFORM_HEADER

using namespace OpenMM;
using std::string;
using std::vector;

namespace NequIP {

namespace {

class GpuKernel : public CalcForceKernel {
 public:
  GpuKernel(string name, const Platform& platform, ComputeContext& context) : CalcForceKernel(name, platform), cc(context) {}

  void initialize(const System& system, const Force& f) {
    force = &f;
    Description description;
    describe(f, description);
    ContextSelector selector(cc);
    model.reset(new GpuModel(cc, description, system));
    event = cc.createEvent();
    whole_molecules = !f.periodic && system.usesPeriodicBoundaryConditions();
    std::map<string, string> defines;
    defines["PADDED_NUM_ATOMS"] = cc.intToString(cc.getPaddedNumAtoms());
    defines["ATOMS"] = cc.intToString(atoms_together());
    if (whole_molecules) defines["WHOLE_MOLECULES"] = "1";
    program = cc.compileProgram(description.text("source"), defines);
    make_kernels();
  }

  double execute(ContextImpl& context, bool with_forces, bool with_energy) {
    ContextSelector selector(cc);
    update_box();
    update_offsets();
    if (generation != list_generation()) model->forget_list();
    generation = list_generation();
    GpuModel& m = *model;
    gather->execute(cc.getNumAtoms());
    if (m.n_caps) place_caps->execute(m.n_caps);
    sort_into_cells->execute(m.cell_threads, m.cell_threads);
    find->execute(m.n_nodes);
    int* answer = (int*)cc.getPinnedBuffer();
    m.state.download(answer, false);
    event->enqueue();
    geometry->execute(m.n_nodes * m.slots);
    const int block = 32 * m.warps * atoms_together();
    const int threads = (m.n_nodes + atoms_together() - 1) / atoms_together() * block;
    for (auto& kernel : forward) kernel->execute(threads, block);
    if (with_forces)
      for (auto& kernel : backward) kernel->execute(threads, block);
    give->setArg(4, (int)with_forces);
    give->execute(std::max(m.n_sites, m.n_nodes));
    // The list is made early in the queue: this waits for it alone, while the rest of the step runs.
    event->wait();
    if (answer[2] > 0) {
      m.make_slots(std::max(answer[2], m.slots + m.slots / 4));
      bind_slots();
      m.forget_list();
      cc.setForcesValid(false);  // OpenMM computes the step again
      return 0.0;
    }
    return with_energy ? m.constant_energy : 0.0;
  }

 private:
  // Barriers of a single warp are known on CUDA alone, see kernels/gpu/prelude.cc.
  int atoms_together() const { return string(PLATFORM_NAME) == "CUDA" ? model->atoms : 1; }

  void update_box() {
    Vec3 now[3];
    cc.getPeriodicBoxVectors(now[0], now[1], now[2]);
    if (now[0] == box[0] && now[1] == box[1] && now[2] == box[2]) return;
    const bool first = box[0] == Vec3();
    for (int a = 0; a < 3; a++) box[a] = now[a];
    model->set_box(box, force->periodic);
    if (!find) bind_slots();
    if (first || force->periodic) model->forget_list();
  }

  // OpenMM moves molecules of a periodic System into the box; a model that is not periodic wants them where they were.
  void update_offsets() {
    if (!whole_molecules) return;
    const vector<mm_int4>& now = cc.getPosCellOffsets();
    vector<int> flat(4 * cc.getPaddedNumAtoms(), 0);
    for (size_t a = 0; a < now.size(); a++) {
      flat[4 * a] = now[a].x;
      flat[4 * a + 1] = now[a].y;
      flat[4 * a + 2] = now[a].z;
    }
    if (flat == offsets) return;
    offsets = flat;
    model->offsets.upload(offsets);
  }

  ComputeKernel make(const string& name) { return program->createKernel(name); }

  void make_kernels() {
    GpuModel& m = *model;
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
    GpuModel& m = *model;
    find = make("find");
    find->addArg(m.n_nodes);
    find->addArg(m.slots);
    for (auto* array : {&m.state, &m.positions, &m.frame, &m.grid, &m.region, &m.cell_of, &m.cell_start, &m.cell_end, &m.members,
                        &m.count, &m.other, &m.shift})
      find->addArg(*array);
    geometry = make("geometry");
    geometry->addArg(m.n_nodes);
    geometry->addArg(m.slots);
    for (auto* array : {&m.count, &m.other, &m.shift, &m.positions, &m.types, &m.frame, &m.reciprocal, &m.state, &m.knot,
                        &m.fraction, &m.knots_in(), &m.fractions_in(), &m.unit, &m.length, &m.mirror})
      geometry->addArg(*array);
    bind_layers();
    give = make("give");
    for (int value : {m.n_sites, m.n_atoms, m.n_nodes, m.slots, 1}) give->addArg(value);
    for (auto* array : {&m.count, &m.other, &m.mirror, &m.types, &m.knot, &m.knots_in(), &m.reciprocal, &m.charges, &m.unit,
                        &m.length, &m.radial_gradient, &m.unit_gradient, &m.caps_from, &m.cap_list, &m.cap_q, &m.cap_m,
                        &m.cap_distance, &m.sites, &m.frame, &m.grid, &m.place_of, &m.energies})
      give->addArg(*array);
    give->addArg(cc.getLongForceBuffer());
    give->addArg(cc.getEnergyBuffer());
    give->addArg(m.state);
  }

  void bind_layers() {
    GpuModel& m = *model;
    const int last = (int)m.features.size() - 1;
    forward.clear();
    backward.clear();
    auto begin = [&](const string& name, ComputeArray& knot, ComputeArray& fraction) {
      ComputeKernel kernel = make(name);
      kernel->addArg(m.n_nodes);
      kernel->addArg(m.slots);
      for (auto* array : {&m.count, &m.other, &m.types, &knot, &fraction, &m.unit, &m.weights, &m.scales, &m.room})
        kernel->addArg(*array);
      return kernel;
    };
    for (int k = 0; k <= last; k++) {
      const int next = std::min(k + 1, last);
      ComputeKernel kernel = begin("forward_" + std::to_string(k), m.knot, m.fraction);
      for (auto* array : {&m.features[k], &m.gate_inputs[k], &m.features[next], &m.gate_inputs[next], &m.energies,
                          &m.sums_gradient[last % 2]})
        kernel->addArg(*array);
      forward.push_back(kernel);
    }
    for (int k = last; k >= 0; k--) {
      ComputeKernel kernel = begin("backward_" + std::to_string(k), m.knots_in(), m.fractions_in());
      for (auto* array : {&m.features[k], &m.sums_gradient[k % 2], &m.gate_inputs[k], &m.gate_inputs[std::max(k - 1, 0)],
                          &m.sums_gradient[(k + 1) % 2], &m.radial_gradient, &m.unit_gradient})
        kernel->addArg(*array);
      backward.push_back(kernel);
    }
  }

  ComputeContext& cc;
  const Force* force = nullptr;
  std::unique_ptr<GpuModel> model;
  ComputeEvent event;
  ComputeProgram program;
  ComputeKernel gather, place_caps, sort_into_cells, find, geometry, give;
  vector<ComputeKernel> forward, backward;
  Vec3 box[3];
  bool whole_molecules = false;
  long generation = list_generation();
  vector<int> offsets;
};

class Factory : public KernelFactory {
  KernelImpl* createKernelImpl(string name, const Platform& platform, ContextImpl& context) const {
    // The class of the platform's context is declared and no more; its only base, ComputeContext, begins where it does.
    auto& data = *static_cast<PLATFORM_CLASS::PlatformData*>(context.getPlatformData());
    return new GpuKernel(name, platform, *reinterpret_cast<ComputeContext*>(data.contexts[0]));
  }
};

}  // namespace

}  // namespace NequIP

// Why the platform cannot be used; empty if its kernels are registered.
extern "C" const char* nequip_register() {
  static string problem;
  try {
    Platform::getPlatformByName(PLATFORM_NAME).registerKernelFactory(NequIP::CalcForceKernel::Name(), new NequIP::Factory());
  } catch (const std::exception& error) {
    problem = error.what();
  }
  return problem.c_str();
}
