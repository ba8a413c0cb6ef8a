// oneDNN: pooling whose kernel is the whole plane, and its reductions.
#include <omp.h>
#include <dnnl.hpp>

#include <memory>
#include <unordered_map>

#include "peers/peer.hpp"

namespace poolhead::bench {
namespace {

using dnnl::algorithm;
using dnnl::memory;
using dnnl::prop_kind;
using Arguments = std::unordered_map<int, memory>;

struct Work {
  PeerTask task;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  memory::desc map, row;  // (N, C, H, W) and (N, C, 1, 1)
  std::vector<float> y, dx;
  memory workspace;  // of maxima: their positions

  explicit Work(const PeerTask& t)
      : task(t), y(static_cast<std::size_t>(t.n * t.c)), dx(static_cast<std::size_t>(t.n * t.c * t.h * t.w)) {
    const auto layout = t.channels_last ? memory::format_tag::nhwc : memory::format_tag::nchw;
    map = {{t.n, t.c, t.h, t.w}, memory::data_type::f32, layout};
    row = {{t.n, t.c, 1, 1}, memory::data_type::f32, layout};
  }

  memory over(const memory::desc& shape, const float* data) const {
    return {shape, engine, const_cast<float*>(data)};
  }
  void run(const dnnl::primitive& primitive, const Arguments& arguments) {
    primitive.execute(stream, arguments);
    stream.wait();
  }
};
using Shared = std::shared_ptr<Work>;
using Run = std::function<void()>;

struct Pooling {
  Run forward, backward;
};

Pooling pooling(const Shared& work, algorithm kind, prop_kind purpose) {
  const PeerTask& t = work->task;
  const memory::dims stride{1, 1}, kernel{t.h, t.w}, none{0, 0};
  const dnnl::pooling_forward::primitive_desc forward(
      {purpose, kind, work->map, work->row, stride, kernel, none, none}, work->engine);
  const dnnl::pooling_backward::primitive_desc backward(
      {kind, work->map, work->row, stride, kernel, none, none}, work->engine, forward);
  Arguments down{{DNNL_ARG_SRC, work->over(work->map, t.x)},
                 {DNNL_ARG_DST, work->over(work->row, work->y.data())}};
  Arguments up{{DNNL_ARG_DIFF_DST, work->over(work->row, t.dy)},
               {DNNL_ARG_DIFF_SRC, work->over(work->map, work->dx.data())}};
  if (forward.workspace_desc().get_size() > 0) {
    work->workspace = memory(forward.workspace_desc(), work->engine);
    down[DNNL_ARG_WORKSPACE] = up[DNNL_ARG_WORKSPACE] = work->workspace;
  }
  return {[work, down, primitive = dnnl::pooling_forward(forward)] { work->run(primitive, down); },
          [work, up, primitive = dnnl::pooling_backward(backward)] { work->run(primitive, up); }};
}

Run reduction(const Shared& work, algorithm kind, double p) {
  const dnnl::reduction::primitive_desc description({kind, work->map, work->row, static_cast<float>(p), 0.0f},
                                                    work->engine);
  const Arguments arguments{{DNNL_ARG_SRC, work->over(work->map, work->task.x)},
                            {DNNL_ARG_DST, work->over(work->row, work->y.data())}};
  return [work, arguments, primitive = dnnl::reduction(description)] { work->run(primitive, arguments); };
}

Contender contender(const Shared& work, std::string form, Run run) {
  const bool forward = work->task.direction == Direction::forward;
  return {"oneDNN", std::move(form), std::move(run), [=] { return forward ? work->y : work->dx; }};
}

std::vector<Contender> contenders(const PeerTask& task) {
  const auto work = std::make_shared<Work>(task);
  const PeerKind kind = task.pool.kind;
  if (task.direction != Direction::forward) {
    if (kind != PeerKind::average && kind != PeerKind::max) return {};
    const Pooling pool =
        pooling(work, kind == PeerKind::max ? algorithm::pooling_max : algorithm::pooling_avg_exclude_padding,
                prop_kind::forward_training);
    pool.forward();  // backward wants the workspace
    if (task.direction == Direction::backward) return {contender(work, "pooling", pool.backward)};
    return {contender(work, "pooling", [pool] {
      pool.forward();
      pool.backward();
    })};
  }
  switch (kind) {
    case PeerKind::average:
      return {contender(
                  work, "pooling",
                  pooling(work, algorithm::pooling_avg_exclude_padding, prop_kind::forward_inference).forward),
              contender(work, "reduction", reduction(work, algorithm::reduction_mean, 0.0))};
    case PeerKind::max:
      return {contender(work, "pooling with workspace",
                        pooling(work, algorithm::pooling_max, prop_kind::forward_training).forward)};
    case PeerKind::max_values:
      return {contender(work, "pooling",
                        pooling(work, algorithm::pooling_max, prop_kind::forward_inference).forward),
              contender(work, "reduction", reduction(work, algorithm::reduction_max, 0.0))};
    case PeerKind::lp:
      return {
          contender(work, "reduction", reduction(work, algorithm::reduction_norm_lp_sum, task.pool.parameter))};
    default:
      return {};
  }
}

}  // namespace

std::vector<Contender> onednn_contenders(const PeerTask& task) {
  omp_set_num_threads(task.threads);
  return contenders(task);
}

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
         std::to_string(version->patch);
}

}  // namespace poolhead::bench
