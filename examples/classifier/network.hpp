// A network of any type behind one: what every part of this program works on, so that each network is compiled
// once.
#pragma once

#include <poolhead/core/device.hpp>
#include <poolhead/core/parameters.hpp>
#include <poolhead/core/rows.hpp>
#include <poolhead/core/view.hpp>
#include <poolhead/nn/mode.hpp>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace ph = poolhead;

/// A batch of images in either layout, chosen at run time.
class Images {
 public:
  using Scalar = float;

  Images() = default;
  Images(const float* data, const ph::FeatureShape& shape, bool channels_last)
      : data_(data), shape_(shape), channels_last_(channels_last) {}

  const float* data() const { return data_; }
  ph::Index batch() const { return shape_.batch; }
  const ph::FeatureShape& shape() const { return shape_; }
  bool channels_last() const { return channels_last_; }
  ph::Index image_size() const { return shape_.channels * shape_.height() * shape_.width(); }
  Images samples(ph::Index first, ph::Index count) const {
    ph::FeatureShape shape = shape_;
    shape.batch = count;
    return {data_ + first * image_size(), shape, channels_last_};
  }

 private:
  const float* data_ = nullptr;
  ph::FeatureShape shape_{};
  bool channels_last_ = true;
};

/// The output of one layer, or the gradient there, in (N, C, H, W) order; height and width are 1 for rows.
struct Tap {
  std::string name;
  ph::FeatureShape shape;
  bool rows;
  std::vector<float> values;

  ph::FeatureMap<const float, ph::ChannelsFirst> view() const { return {values.data(), shape}; }
};
using TapVisitor = std::function<void(Tap&&)>;
/// Whether a layer's tap is wanted, by its name.
using TapFilter = std::function<bool(std::string_view)>;

/// A parameter of floats or a buffer.
struct State {
  std::string name;
  std::variant<ph::ParameterView<float>, ph::ParameterView<std::int64_t>> values;
};

/// A layer of the library's protocol, from Images to rows.
class Network {
 public:
  using Device = Eigen::ThreadPoolDevice;

  /// Memory of the wrapped network, for one shape.
  struct Memory {
    virtual ~Memory() = default;
  };
  struct Cache {
    std::unique_ptr<Memory> memory;
    std::uint64_t step = 0;  // of dropout, set by start_step()
    ph::Index first_sample = 0;
  };
  /// The wrapped network.
  struct Model {
    std::vector<State> parameters, state;
    bool has_buffers = false;

    virtual ~Model() = default;
    virtual std::unique_ptr<Model> clone() const = 0;
    virtual ph::Rows<float> output_shape(const Images& x) const = 0;
    virtual std::unique_ptr<Memory> make_memory(const Images& x, const ph::Mode& mode) const = 0;
    virtual void forward(const Images& x, const ph::Rows<float>& y, Cache& cache,
                         const Device& device) const = 0;
    virtual void backward(const Images& x, const ph::Rows<const float>& y, const ph::Rows<const float>& dy,
                          const Cache& cache, Model& gradient, const Device& device) const = 0;
    virtual void update_buffers(const Images& x, const Cache& cache) = 0;
    virtual void outputs(const Images& x, const ph::Rows<const float>& y, const Cache& cache,
                         const TapFilter& wanted, const TapVisitor& visit) const = 0;
    virtual void gradients(const Images& x, const ph::Rows<const float>& dy, const Cache& cache,
                           const TapFilter& wanted, const TapVisitor& visit) const = 0;
  };

  explicit Network(std::unique_ptr<Model> model) : model_(std::move(model)) {}
  Network(const Network& other) : model_(other.model_->clone()) {}
  Network(Network&&) = default;
  Network& operator=(const Network& other) { return *this = Network(other); }
  Network& operator=(Network&&) = default;

  const Model& model() const { return *model_; }
  Model& model() { return *model_; }

  // The library's walks.
  static constexpr bool has_parameter_views = true, has_state_views = true;
  template <class F, class First, class... Others>
  static void visit_views(const F& f, First& first, Others&... others) {
    for (std::size_t i = 0; i < first.model_->parameters.size(); ++i) {
      f(std::string_view(first.model_->parameters[i].name), parameter(first, i), parameter(others, i)...);
    }
  }
  template <class F, class First, class... Others>
  static void visit_state_views(const F& f, First& first, Others&... others) {
    for (std::size_t i = 0; i < first.model_->state.size(); ++i) {
      const std::string_view name = first.model_->state[i].name;
      if (std::holds_alternative<ph::ParameterView<float>>(first.model_->state[i].values))
        f(name, state<float>(first, i), state<float>(others, i)...);
      else
        f(name, state<std::int64_t>(first, i), state<std::int64_t>(others, i)...);
    }
  }

  // The library's layers.
  ph::Rows<float> output_shape(const Images& x) const { return model_->output_shape(x); }
  Cache make_cache(const Images& x, const ph::Mode& mode = ph::Mode::training) const {
    return {model_->make_memory(x, mode)};
  }
  void forward(const Images& x, const ph::Rows<float>& y, Cache& cache, const Device& device) const {
    model_->forward(x, y, cache, device);
  }
  void forward(const Images& x, const ph::Rows<float>& y, Cache& cache) const {
    forward(x, y, cache, this_thread());
  }
  void backward(const Images& x, const ph::Rows<const float>& y, const ph::Rows<const float>& dy,
                const Cache& cache, Network& gradient, const Device& device) const {
    model_->backward(x, y, dy, cache, *gradient.model_, device);
  }
  template <class NoGradient>
  void backward(const Images& x, const ph::Rows<const float>& y, const ph::Rows<const float>& dy, NoGradient,
                const Cache& cache, Network& gradient) const {
    backward(x, y, dy, cache, gradient, this_thread());
  }

  /// A device that works on the calling thread alone.
  static const Device& this_thread();

 private:
  std::unique_ptr<Model> model_;

  static ph::ParameterView<float> parameter(Network& network, std::size_t i) {
    return std::get<ph::ParameterView<float>>(network.model_->parameters[i].values);
  }
  static ph::ParameterView<const float> parameter(const Network& network, std::size_t i) {
    return read_only(std::get<ph::ParameterView<float>>(network.model_->parameters[i].values));
  }
  template <class T>
  static ph::ParameterView<T> state(Network& network, std::size_t i) {
    return std::get<ph::ParameterView<T>>(network.model_->state[i].values);
  }
  template <class T>
  static ph::ParameterView<const T> state(const Network& network, std::size_t i) {
    return read_only(std::get<ph::ParameterView<T>>(network.model_->state[i].values));
  }
  template <class T>
  static ph::ParameterView<const T> read_only(const ph::ParameterView<T>& view) {
    return {view.data(), view.shape()};
  }
};

/// What a network is made for, and how.
struct NetworkOptions {
  std::string model = "four-head";
  std::string pool = "gap";  ///< of models with a head of choice
  ph::Index channels = 1, height = 28, width = 28, classes = 10;
  std::string init = "default";  ///< default (PyTorch's), xavier or kaiming
  double bias = 0.0;             ///< of xavier and kaiming
  std::uint64_t seed = 0;
};

/// A network that train --model takes.
struct NetworkInfo {
  std::string_view name;
  std::string_view description;
  bool takes_pool;
  std::string_view features;  ///< the feature map before the pools
  std::string_view
      classifier;  ///< the dense layer straight after one average pool (CAM), or "" if there is none
  std::function<std::unique_ptr<Network::Model>(const NetworkOptions&)> make;
};

/// All networks, and the one of a name; throws ValueError, listing the names, where there is none.
const std::vector<NetworkInfo>& all_networks();
const NetworkInfo& network_info(std::string_view name);

/// The heads that --pool and --pools take, as the library calls them.
const std::map<std::string, std::string, std::less<>>& pool_names();

/// Throws ValueError for unknown names.
Network make_network(const NetworkOptions& options);
