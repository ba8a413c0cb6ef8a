// Any network of the library as an AnyNetwork.
#pragma once

#include "kernels.hpp"
#include "network.hpp"

#include <poolhead/model/multi_scale.hpp>
#include <poolhead/nn/walk.hpp>

namespace forward {

using poolhead::ChannelsFirst;
using poolhead::ChannelsLast;
using poolhead::FeatureMap;
using poolhead::FeatureShape;
using poolhead::Index;
using poolhead::Mode;
using poolhead::Rows;

/// The extents of a view as files have them: (N, C, H, W) or (N, features).
template <class T, class L>
std::vector<Index> file_shape(const FeatureMap<T, L>& x) {
  return {x.batch(), x.channels(), x.height(), x.width()};
}
template <class T>
std::vector<Index> file_shape(const Rows<T>& x) {
  return {x.batch(), x.features()};
}

/// f(element of the view, place in the file).
template <class T, class L, class F>
void each_element(const FeatureMap<T, L>& x, const F& f) {
  std::size_t i = 0;
  for (Index n = 0; n < x.batch(); ++n)
    for (Index c = 0; c < x.channels(); ++c)
      for (Index s = 0; s < x.positions(); ++s) f(x(n, c, s), i++);
}
template <class T, class F>
void each_element(const Rows<T>& x, const F& f) {
  std::size_t i = 0;
  for (Index n = 0; n < x.batch(); ++n)
    for (Index j = 0; j < x.features(); ++j) f(x(n, j), i++);
}

/// Memory for a view, and the view.
template <class View>
class Owned {
  using T = typename View::Scalar;

 public:
  Owned() = default;
  explicit Owned(const View& shape)
      : values_(static_cast<std::size_t>(shape.size())),
        view(poolhead::detail::with_data(shape, values_.data())) {}
  Owned(Owned&&) = default;
  Owned& operator=(Owned&&) = default;

  /// The tensor of this name takes the place of the zeros, in the run's scalar. Throws ValueError where it has
  /// another shape or holds integers.
  void read(const poolhead::TensorFile& file, const std::string& name) {
    const auto& tensor = file.tensors.find(name)->second;
    if (tensor.shape != file_shape(view))
      poolhead::detail::fail<poolhead::ShapeError>(name, " is ", std::span(tensor.shape), ", expected ",
                                                   std::span<const Index>(file_shape(view)));
    std::vector<T> values(values_.size());
    copy_values(tensor, std::span<T>(values));
    each_element(view, [&](T& to, std::size_t i) { to = values[i]; });
  }
  void write(poolhead::TensorFile& file, const std::string& name) const {
    std::vector<T> values(values_.size());
    each_element(view, [&](const T& from, std::size_t i) { values[i] = from; });
    file.tensors[name] = poolhead::store_tensor(std::span<const T>(values), file_shape(view));
  }

 private:
  std::vector<T> values_;

 public:
  View view;
};

/// The output of a network: one view under one name ...
template <class View>
struct Outputs {
  Owned<View> memory;

  explicit Outputs(const View& shape) : memory(shape) {}
  View view() const { return memory.view; }
  auto read_only() const { return poolhead::detail::read_only(memory.view); }
  template <class F>
  void each(const F& f) {
    f(std::string(), memory);
  }
};

/// ... or several.
template <class T, class L>
struct Outputs<poolhead::MultiScaleOutputs<T, L>> {
  std::array<Owned<FeatureMap<T, L>>, 4> spatial;
  std::array<Owned<Rows<T>>, 4> global;

  explicit Outputs(const poolhead::MultiScaleOutputs<T, L>& shape) {
    for (std::size_t i = 0; i < 4; ++i) {
      spatial[i] = Owned<FeatureMap<T, L>>(shape.spatial[i]);
      global[i] = Owned<Rows<T>>(shape.global[i]);
    }
  }
  template <class U>
  poolhead::MultiScaleOutputs<U, L> views() const {
    poolhead::MultiScaleOutputs<U, L> all;
    for (std::size_t i = 0; i < 4; ++i) {
      all.spatial[i] = spatial[i].view;
      all.global[i] = global[i].view;
    }
    return all;
  }
  auto view() const { return views<T>(); }
  auto read_only() const { return views<const T>(); }
  template <class F>
  void each(const F& f) {
    for (std::size_t i = 0; i < 4; ++i) {
      f(".spatial." + std::to_string(i), spatial[i]);
      f(".global." + std::to_string(i), global[i]);
    }
  }
};

// What follows depends on the network's type, and is compiled for each: it is kept short.

/// Reads dy where the input has it; returns whether it has any.
template <class View>
bool read_slopes(const poolhead::TensorFile& input, Outputs<View>& dy) {
  bool any = false;
  dy.each([&](const std::string& suffix, auto& memory) {
    if (!input.tensors.contains("dy" + suffix)) return;
    memory.read(input, "dy" + suffix);
    any = true;
  });
  return any;
}
template <class View>
void write_outputs(Outputs<View>& y, poolhead::TensorFile& result) {
  y.each([&](const std::string& suffix, auto& memory) { memory.write(result, "y" + suffix); });
}
template <class T, class L>
Owned<FeatureMap<T, L>> read_input(const poolhead::TensorFile& input) {
  const auto& tensor = input.tensors.find("x")->second;
  FeatureShape shape;
  shape.batch = tensor.shape[0];
  shape.channels = tensor.shape[1];
  shape.spatial = {1, tensor.shape[2], tensor.shape[3]};
  Owned<FeatureMap<T, L>> x(FeatureMap<T, L>(nullptr, shape));
  x.read(input, "x");
  return x;
}
inline void write_tensors(const std::string& prefix, std::span<const poolhead::detail::NetworkTensor> tensors,
                          poolhead::TensorFile& result) {
  for (const auto& tensor : tensors)
    result.tensors[prefix + tensor.name] = poolhead::detail::store_network_tensor(tensor);
}

template <class T, class Network>
class NetworkProgram : public AnyNetwork {
 public:
  explicit NetworkProgram(Network network) : network_(std::move(network)) {}

  std::vector<poolhead::detail::NetworkTensor> state() override {
    return poolhead::detail::state_tensors(network_);
  }
  poolhead::TensorFile run(const poolhead::TensorFile& input, const RunOptions& options) override {
    return options.channels_last ? run_in<ChannelsLast>(input, options) : run_in<ChannelsFirst>(input, options);
  }

 private:
  Network network_;

  template <class L>
  poolhead::TensorFile run_in(const poolhead::TensorFile& input, const RunOptions& options) {
    const auto x = read_input<T, L>(input);
    const auto in = poolhead::detail::read_only(x.view);
    const auto output_shape = network_.output_shape(in);
    Outputs y(output_shape), dy(output_shape);
    const bool backward = read_slopes(input, dy);

    Eigen::ThreadPool pool(options.threads);
    const Eigen::ThreadPoolDevice device(&pool, options.threads);
    auto cache =
        poolhead::detail::make_cache(network_, in, Mode{.trains = options.trains, .backward = backward});
    network_.forward(in, y.view(), cache, device);
    poolhead::TensorFile result;
    write_outputs(y, result);

    std::vector<poolhead::detail::NetworkTensor> tensors;
    if (backward) {
      Network gradient = zeros_like(network_);
      const auto run_backward = [&](const auto& dx) {
        network_.backward(in, y.read_only(), dy.read_only(), dx, cache, gradient, device);
      };
      bool frozen = false;
      if constexpr (requires { std::get<0>(network_.parts).frozen; }) {
        frozen = std::get<0>(network_.parts).frozen;
        if (frozen) run_backward(poolhead::no_gradient);
      }
      if (!frozen) {
        Owned<FeatureMap<T, L>> dx(poolhead::detail::shape_of(x.view));
        run_backward(dx.view);
        dx.write(result, "dx");
      }
      visit_parameters(gradient, poolhead::detail::ListTensors{tensors});
      write_tensors("grad.", tensors, result);
    }
    if (options.trains) {
      update_buffers(network_, cache);
      tensors.clear();
      visit_buffers(network_, poolhead::detail::ListTensors{tensors});
      write_tensors("", tensors, result);
    }
    return result;
  }
};

/// A model for the list: make<T>(options, shape of x) is the network.
#define POOLHEAD_FORWARD_MODEL(NAME, MAKE)                            \
  Model {                                                             \
    NAME,                                                             \
        [](Options& options, const std::vector<poolhead::Index>& x) { \
          return forward::wrap<float>(MAKE<float>(options, x));       \
        },                                                            \
        [](Options& options, const std::vector<poolhead::Index>& x) { \
          return forward::wrap<double>(MAKE<double>(options, x));     \
        }                                                             \
  }
template <class T, class Network>
std::unique_ptr<AnyNetwork> wrap(Network network) {
  return std::make_unique<NetworkProgram<T, Network>>(std::move(network));
}

/// The options of a head in place of a network's average; images are as large as x unless the options say else.
inline poolhead::HeadOptions read_head(Options& options, const std::vector<Index>& x) {
  std::vector<std::string> names(poolhead::head_names().begin(), poolhead::head_names().end());
  poolhead::HeadOptions head;
  head.pool = options.choice("pool", "avg", names);
  if (head.pool == "spp" || head.pool == "improved-spp") head.levels = options.numbers("levels", "1,2,4");
  if (head.pool == "spp") head.max_bins = options.choice("spp_pool", "avg", {"avg", "max"}) == "max";
  if (head.pool == "improved-spp") head.out_features = options.number("out_features", 256);
  if (head.pool.ends_with("attention")) head.attention_hidden = options.number("attention_hidden", 0, 0);
  if (head.pool == "flatten") {
    head.height = options.number("height", x[2] > 0 ? x[2] : 32);
    head.width = options.number("width", x[3] > 0 ? x[3] : 32);
    head.hidden = options.number("hidden", 4096);
  }
  return head;
}

}  // namespace forward
