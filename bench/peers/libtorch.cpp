// libtorch, in the forms that its users write: functions on an NCHW tensor whose strides are those of the map.
#include <dlfcn.h>
#include <torch/torch.h>
#include <torch/version.h>

#include "peers/peer.hpp"

namespace poolhead::bench {
namespace {

using at::Tensor;

/// The task as tensors over its memory; nothing is copied.
struct Tensors {
  PeerTask task;
  Tensor x;       // (N, C, H, W)
  Tensor planes;  // (N, C, S), or channels last (N, S, C)
  Tensor dy;      // (N, features)
  Tensor hidden_weight, hidden_bias, score_weight, score_bias;
  int64_t over;  // the axis of positions in planes

  explicit Tensors(const PeerTask& t) : task(t), over(t.channels_last ? 1 : 2) {
    const int64_t s = t.positions();
    const auto wrap = [](const float* data, at::IntArrayRef sizes) {
      return torch::from_blob(const_cast<float*>(data), sizes);
    };
    if (t.channels_last) {
      x = wrap(t.x, {t.n, t.h, t.w, t.c}).permute({0, 3, 1, 2});
      planes = wrap(t.x, {t.n, s, t.c});
    } else {
      x = wrap(t.x, {t.n, t.c, t.h, t.w});
      planes = wrap(t.x, {t.n, t.c, s});
    }
    dy = wrap(t.dy, {t.n, t.features});
    if (t.hidden > 0) {
      hidden_weight = wrap(t.hidden_weight, {t.hidden, t.c});
      hidden_bias = wrap(t.hidden_bias, {t.hidden});
      score_weight = wrap(t.score_weight, {1, t.hidden});
      score_bias = wrap(t.score_bias, {1});
    }
  }
};

/// y of the whole map (N, C, H, W), or of its planes.
struct Form {
  std::string name;
  bool of_planes;
  std::function<Tensor(const Tensor&)> forward;
};

Tensor grid(const Tensor& x, int64_t rows, int64_t columns, bool max) {
  return max ? std::get<0>(at::adaptive_max_pool2d(x, {rows, columns}))
             : at::adaptive_avg_pool2d(x, {rows, columns});
}
Tensor grids(const Tensor& x, const PeerPool& pool, bool max) {
  std::vector<Tensor> all;
  for (const auto& [rows, columns] : pool.grids) all.push_back(grid(x, rows, columns, max).flatten(1));
  return all.size() == 1 ? all[0] : at::cat(all, 1);
}

Tensor power(const Tensor& x, double p, bool by_products) {
  if (p == 1.0) return x;
  if (!by_products) return x.pow(p);
  const Tensor square = x * x;
  return p == 2.0 ? square : p == 3.0 ? square * x : square * square;
}
Tensor root(const Tensor& x, double p) { return p == 1.0 ? x : p == 2.0 ? x.sqrt() : x.pow(1.0 / p); }
Tensor generalised_mean(const Tensor& x, at::IntArrayRef over, double p, bool by_products) {
  return root(power(x.clamp_min(1e-6), p, by_products).mean(over), p);
}
bool has_products(double p) { return p == 2.0 || p == 3.0 || p == 4.0; }

Tensor softmax_mean(const Tensor& planes, int64_t over) { return (planes.softmax(over) * planes).sum(over); }
Tensor exponential_mean(const Tensor& planes, int64_t over) {
  const Tensor weights = planes.exp();
  return (weights * planes).sum(over) / weights.sum(over);
}

/// Weighted sums as a product of matrices, with weights (N, S).
Tensor weighted(const Tensor& planes, const Tensor& weights, bool channels_last) {
  return channels_last ? at::bmm(weights.unsqueeze(1), planes).squeeze(1)
                       : at::bmm(planes, weights.unsqueeze(2)).squeeze(2);
}
Tensor attend(const Tensor& planes, const Tensor& scores, const PeerTask& task) {
  if (task.pool.kind == PeerKind::attention_softmax)
    return weighted(planes, scores.softmax(1), task.channels_last);
  const Tensor gates = scores.sigmoid();
  return weighted(planes, gates, task.channels_last) / gates.sum(1, true);
}
/// Scores by products of matrices.
Tensor attention_of_products(const Tensor& planes, const Tensors& t) {
  if (t.task.channels_last) {
    const Tensor hidden = at::linear(planes, t.hidden_weight, t.hidden_bias).relu_();
    return attend(planes, at::linear(hidden, t.score_weight, t.score_bias).squeeze(2), t.task);
  }
  const Tensor hidden = at::matmul(t.hidden_weight, planes).add_(t.hidden_bias.unsqueeze(1)).relu_();
  return attend(planes, at::matmul(t.score_weight, hidden).add_(t.score_bias).squeeze(1), t.task);
}
/// Scores by 1x1 convolutions.
Tensor attention_of_convolutions(const Tensor& x, const Tensors& t) {
  const auto kernel = [](const Tensor& weight) { return weight.unsqueeze(2).unsqueeze(3); };
  const Tensor hidden = at::conv2d(x, kernel(t.hidden_weight), t.hidden_bias).relu_();
  const Tensor scores = at::conv2d(hidden, kernel(t.score_weight), t.score_bias).flatten(1);
  const Tensor planes = t.task.channels_last ? x.permute({0, 2, 3, 1}).flatten(1, 2) : x.flatten(2);
  return attend(planes, scores, t.task);
}

std::vector<Form> forms(const Tensors& t) {
  const PeerPool& pool = t.task.pool;
  const double p = pool.parameter;
  const int64_t over = t.over;
  const auto mean = [](const Tensor& x) { return x.mean({2, 3}); };
  const auto top = [](const Tensor& x) { return grid(x, 1, 1, true).flatten(1); };
  switch (pool.kind) {
    case PeerKind::average:
      return {{"mean", false, mean},
              {"adaptive_avg_pool2d", false, [](const Tensor& x) { return grid(x, 1, 1, false).flatten(1); }}};
    case PeerKind::max:
      return {{"adaptive_max_pool2d", false, top},
              {"max", true, [over](const Tensor& x) { return std::get<0>(x.max(over)); }}};
    case PeerKind::max_values:
      return {{"amax", true, [over](const Tensor& x) { return x.amax(over); }}};
    case PeerKind::average_max:
      return {{"adaptive pools", false, [=](const Tensor& x) { return (mean(x) + top(x)) * 0.5; }},
              {"mean, max", true,
               [over](const Tensor& x) { return (x.mean(over) + std::get<0>(x.max(over))) * 0.5; }}};
    case PeerKind::average_and_max:
      return {{"adaptive pools", false,
               [=](const Tensor& x) {
                 return at::cat({mean(x), top(x)}, 1);
               }},
              {"mean, max", true, [over](const Tensor& x) {
                 return at::cat({x.mean(over), std::get<0>(x.max(over))}, 1);
               }}};
    case PeerKind::lp: {
      std::vector<Form> all{
          {"linalg_vector_norm", true, [=](const Tensor& x) { return at::linalg_vector_norm(x, p, over); }},
          {"abs, pow, sum", true,
           [=](const Tensor& x) { return root(power(x.abs(), p, false).sum(over), p); }}};
      if (has_products(p))
        all.push_back({"abs, products, sum", true,
                       [=](const Tensor& x) { return root(power(x.abs(), p, true).sum(over), p); }});
      return all;
    }
    case PeerKind::generalized_mean: {
      std::vector<Form> all{
          {"clamp, pow, mean", true, [=](const Tensor& x) { return generalised_mean(x, over, p, false); }}};
      if (has_products(p))
        all.push_back({"clamp, products, mean", true,
                       [=](const Tensor& x) { return generalised_mean(x, over, p, true); }});
      return all;
    }
    case PeerKind::log_sum_exp: {
      const double shift = std::log(static_cast<double>(t.task.positions()));
      return {{"logsumexp", true,
               [=](const Tensor& x) { return ((p == 1.0 ? x : x * p).logsumexp(over) - shift) * (1.0 / p); }},
              {"exp, mean, log", true,
               [=](const Tensor& x) { return (p == 1.0 ? x : x * p).exp().mean(over).log() * (1.0 / p); }}};
    }
    case PeerKind::soft:
      return {{"softmax, sum", true, [over](const Tensor& x) { return softmax_mean(x, over); }},
              {"exp, sums", true, [over](const Tensor& x) { return exponential_mean(x, over); }}};
    case PeerKind::grids_average:
      return {{"adaptive_avg_pool2d", false, [pool](const Tensor& x) { return grids(x, pool, false); }}};
    case PeerKind::grids_max:
      return {{"adaptive_max_pool2d", false, [pool](const Tensor& x) { return grids(x, pool, true); }}};
    case PeerKind::attention_softmax:
    case PeerKind::attention_sigmoid:
      return {{"matmul", true, [t](const Tensor& x) { return attention_of_products(x, t); }},
              {"conv2d", false, [t](const Tensor& x) { return attention_of_convolutions(x, t); }}};
    case PeerKind::four_heads: {
      const auto four = [=](const Tensor& x, const Tensor& maximum) {
        const Tensor gem = generalised_mean(x, {2, 3}, p, true);
        return at::cat({mean(x), maximum, gem, grids(x, pool, false)}, 1);
      };
      return {{"four calls, adaptive_max_pool2d", false, [=](const Tensor& x) { return four(x, top(x)); }},
              {"four calls, max", false,
               [=](const Tensor& x) { return four(x, std::get<0>(x.flatten(2).max(2))); }}};
    }
    default:
      return {};
  }
}

std::vector<float> values_of(const Tensor& tensor) {
  const Tensor dense = tensor.contiguous();
  return {dense.data_ptr<float>(), dense.data_ptr<float>() + dense.numel()};
}
/// dx in the layout of the task, from a gradient of shape (N, C, H, W) or of planes.
std::vector<float> gradient_values(const Tensor& dx, bool channels_last) {
  return values_of(dx.dim() == 4 && channels_last ? dx.permute({0, 2, 3, 1}) : dx);
}

/// run leaves its result where answer finds it. The one before is freed first, so that its memory is used
/// again.
Contender contender(std::string form, const PeerTask& task, std::function<void(Tensor&)> run) {
  const auto result = std::make_shared<Tensor>();
  const bool forward = task.direction == Direction::forward, channels_last = task.channels_last;
  return {"libtorch", std::move(form),
          [=] {
            *result = Tensor();
            run(*result);
          },
          [=] { return forward ? values_of(*result) : gradient_values(*result, channels_last); }};
}

/// Autograd, with the graph kept where only backward is asked for.
Contender by_autograd(const Form& form, const Tensors& t) {
  Tensor leaf = (form.of_planes ? t.planes : t.x).detach().requires_grad_(true);
  std::vector<Tensor> wanted{leaf};
  // Ours gives the gradient of the weights, too.
  for (const Tensor& weight : {t.hidden_weight, t.hidden_bias, t.score_weight, t.score_bias})
    if (weight.defined()) wanted.push_back(weight);
  if (t.task.direction == Direction::both)
    return contender(form.name, t.task, [=](Tensor& dx) {
      const Tensor y = form.forward(leaf);
      dx = torch::autograd::grad({y}, wanted, {t.dy.view(y.sizes())})[0];
    });
  const Tensor y = form.forward(leaf);
  return contender(form.name, t.task, [=](Tensor& dx) {
    dx = torch::autograd::grad({y}, wanted, {t.dy.view(y.sizes())}, /*retain_graph=*/true)[0];
  });
}

/// The kernels that autograd would call, called directly.
std::vector<Contender> by_kernels(const Tensors& t) {
  const bool both = t.task.direction == Direction::both;
  const Tensor x = t.x, dy = t.dy;
  if (t.task.pool.kind == PeerKind::average)
    return {contender("_adaptive_avg_pool2d_backward", t.task, [=](Tensor& dx) {
      c10::NoGradGuard no_graph;
      const Tensor y = both ? at::adaptive_avg_pool2d(x, {1, 1}) : Tensor();
      dx = at::_adaptive_avg_pool2d_backward(dy.unsqueeze(2).unsqueeze(3), x);
    })};
  if (t.task.pool.kind == PeerKind::max) {
    const Tensor kept = std::get<1>(at::adaptive_max_pool2d(x, {1, 1}));
    return {contender("adaptive_max_pool2d_backward", t.task, [=](Tensor& dx) {
      c10::NoGradGuard no_graph;
      const Tensor indices = both ? std::get<1>(at::adaptive_max_pool2d(x, {1, 1})) : kept;
      dx = at::adaptive_max_pool2d_backward(dy.unsqueeze(2).unsqueeze(3), x, indices);
    })};
  }
  return {};
}

}  // namespace

std::vector<Contender> libtorch_contenders(const PeerTask& task) {
  at::set_num_threads(task.threads);
  Tensors t(task);
  if (task.direction == Direction::forward) {
    std::vector<Contender> all;
    for (const Form& form : forms(t)) {
      const Tensor x = form.of_planes ? t.planes : t.x;
      all.push_back(contender(form.name, task, [=](Tensor& y) {
        c10::InferenceMode inference;
        y = form.forward(x).flatten(1);
      }));
    }
    return all;
  }
  for (Tensor* weight : {&t.hidden_weight, &t.hidden_bias, &t.score_weight, &t.score_bias})
    if (weight->defined()) weight->requires_grad_(true);
  std::vector<Contender> all = by_kernels(t);
  for (const Form& form : forms(t)) all.push_back(by_autograd(form, t));
  return all;
}

/// With the library of its matrix products, which makes a difference of ten.
std::string libtorch_version() {
  using Text = char* (*)();
  const auto openblas = reinterpret_cast<Text>(dlsym(RTLD_DEFAULT, "openblas_get_config"));
  return std::string(TORCH_VERSION) +
         (openblas != nullptr ? " with " + std::string(openblas()) : " without OpenBLAS");
}

}  // namespace poolhead::bench
