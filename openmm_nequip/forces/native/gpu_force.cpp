// The force on a platform of GPUs: positions, the list of neighbours, the model and its forces stay on the device.
//
// Compiled once for each platform, with PLATFORM_NAME and PLATFORM_CLASS, against OpenMM's headers alone: a platform's context is
// known by its base class ComputeContext, so no header of CUDA, HIP or OpenCL is needed. The kernels, their arrays and the path
// of a step are described in openmm_nequip/kernels/gpu.
#include "gpu_run.hpp"
#include "openmm/KernelFactory.h"
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
  // `devices`: on how many the Context runs. The model runs on the first.
  GpuKernel(string name, const Platform& platform, ComputeContext& context, size_t devices)
      : CalcForceKernel(name, platform), cc(context), devices(devices) {}

  void initialize(ContextImpl& context, const Force& f) {
    force = &f;
    const System& system = context.getSystem();
    vector<Description> models;
    describe(f, place_of(context), models);
    if (models.size() > MOST_MODELS)
      throw OpenMMException("NequIP: a force of " + std::to_string(models.size()) + " models; at most " +
                            std::to_string(MOST_MODELS) + " run together on a device");
    ContextSelector selector(cc);
    whole_molecules = !f.periodic && system.usesPeriodicBoundaryConditions();
    std::map<string, ComputeProgram> programs;  // models of one form have one text
    for (const Description& each : models) {
      const int number = (int)runs.size(), lists = each.integer("lists").at(0);
      // Barriers of a single warp are known on CUDA alone, see kernels/gpu/prelude.cc.
      const int teams = string(PLATFORM_NAME) == "CUDA" ? each.integer("sizes").at(3) : 1;
      runs.emplace_back(new ModelRun(cc, each, system, teams, lists < 0 ? nullptr : runs.at(lists).get(), number));
      ComputeProgram& program = programs[each.text("source")];
      if (!program) {
        std::map<string, string> defines;
        defines["ATOMS"] = cc.intToString(teams);
        if (whole_molecules) defines["WHOLE_MOLECULES"] = "1";
        program = cc.compileProgram(each.text("source"), defines);
      }
      runs.back()->use(program);
    }
  }

  double execute(ContextImpl& context, bool with_forces, bool with_energy) {
    // With several devices OpenMM clears buffers and copies positions in a thread for each.
    if (devices > 1) cc.getWorkThread().flush();
    ContextSelector selector(cc);
    double constant = 0;
    look();
    for (auto& run : runs) {
      run->begin(with_forces);
      run->give(with_forces);
      constant += run->model.constant_energy;
    }
    if (grown()) {
      cc.setForcesValid(false);  // OpenMM computes the step again
      return 0.0;
    }
    return with_energy ? constant : 0.0;
  }

  vector<double> tell(ContextImpl& context) {
    ContextSelector selector(cc);
    vector<double> found;
    do {
      found.clear();
      look();
      for (auto& run : runs) {
        run->begin(true);
        const vector<double> told = run->tell();
        found.insert(found.end(), told.begin(), told.end());
      }
    } while (grown());
    return found;
  }

 private:
  // Models that have room for their answers in OpenMM's pinned buffer.
  static constexpr size_t MOST_MODELS = 32;

  // Lines "name=value": the platform and the properties that tell where a Context is.
  string place_of(ContextImpl& context) {
    const Platform& platform = getPlatform();
    string text = "Platform=" + platform.getName();
    for (const string& name : platform.getPropertyNames())
      if (name == "Precision" || name == "DeviceIndex" || name == "DeviceName" || name == "OpenCLPlatformIndex")
        text += "\n" + name + "=" + platform.getPropertyValue(context.getOwner(), name);
    return text;
  }

  // What has changed since the last step beside the positions.
  void look() {
    update_box();
    update_offsets();
    if (generation != list_generation()) forget_lists();
    generation = list_generation();
  }

  void forget_lists() {
    for (auto& run : runs)
      if (run->model.owns_list()) run->model.forget_list();
  }

  // Whether a list lacked room; there is more of it then.
  bool grown() {
    bool any = false;
    for (auto& run : runs) any |= run->grown();
    for (auto& run : runs)
      if (run->model.slots != run->model.lists.slots) run->grow(run->model.lists.slots);
    return any;
  }

  void update_box() {
    Vec3 now[3];
    cc.getPeriodicBoxVectors(now[0], now[1], now[2]);
    if (now[0] == box[0] && now[1] == box[1] && now[2] == box[2]) return;
    const bool first = box[0] == Vec3();
    for (int a = 0; a < 3; a++) box[a] = now[a];
    for (auto& run : runs) run->set_box(box, force->periodic);
    if (first || force->periodic) forget_lists();
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
    for (auto& run : runs)
      if (run->model.owns_list()) run->model.offsets.upload(offsets);
  }

  ComputeContext& cc;
  const size_t devices;
  const Force* force = nullptr;
  vector<std::unique_ptr<ModelRun>> runs;
  Vec3 box[3];
  bool whole_molecules = false;
  long generation = list_generation();
  vector<int> offsets;
};

class Factory : public KernelFactory {
  KernelImpl* createKernelImpl(string name, const Platform& platform, ContextImpl& context) const {
    // The class of the platform's context is declared and no more; its only base, ComputeContext, begins where it does.
    auto& data = *static_cast<PLATFORM_CLASS::PlatformData*>(context.getPlatformData());
    return new GpuKernel(name, platform, *reinterpret_cast<ComputeContext*>(data.contexts[0]), data.contexts.size());
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
