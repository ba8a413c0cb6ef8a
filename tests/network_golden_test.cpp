// Every network beside what PyTorch makes of it, forward and backward: the goldens of
// golden/networks.safetensors, in both layouts, in float and in double, on one thread and on two. What the file
// holds is written down in golden/make_network_goldens.py; the networks are those of examples/forward.
#include <poolhead/io/safetensors.hpp>

#include "../examples/forward/network.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>

using namespace poolhead;

namespace {

const TensorFile& goldens() {
  static const TensorFile file = read_safetensors(POOLHEAD_GOLDEN_DIR "/networks.safetensors");
  return file;
}

std::uint64_t name_seed(std::string_view name) {
  std::uint64_t seed = 0xcbf29ce484222325u;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return seed;
}

/// The tensor of this name, by the rule of make_network_goldens.py: floats.
StoredTensor value(const std::string& name, std::span<const Index> shape) {
  const std::string last = name.substr(name.rfind('.') + 1);
  Index count = 1;
  for (const Index extent : shape) count *= extent;
  if (last == "num_batches_tracked")
    return store_tensor(std::span<const std::int64_t>(std::vector<std::int64_t>{7}), shape);
  double offset = 0.0, scale = 1.0;
  if (shape.size() >= 2 && (last == "weight" || last == "clusters")) {
    for (Index room = 3; room < count / shape[0]; room *= 4) scale /= 2;
  } else if (last == "running_var" || last == "weight") {
    offset = 1.0, scale = 0.25;
  } else if (last == "running_mean" || last == "bias") {
    scale = 0.25;
  } else if (last == "p" || last == "r") {
    offset = 2.0, scale = 0.5;
  }
  std::vector<double> values(static_cast<std::size_t>(count));
  const std::uint64_t seed = name_seed(name);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(
        offset + scale * (std::ldexp(static_cast<double>(test::hash(seed, i) >> 40), -23) - 1));
  return store_tensor(std::span<const double>(values), shape);
}

std::vector<double> numbers(const StoredTensor& tensor) {
  std::vector<double> values;
  if (tensor.dtype == DType::i64) {
    std::vector<std::int64_t> whole(tensor.bytes.size() / sizeof(std::int64_t));
    copy_values(tensor, std::span<std::int64_t>(whole));
    values.assign(whole.begin(), whole.end());
  } else {
    values.resize(tensor.bytes.size() / detail::dtype_info(tensor.dtype).size);
    copy_values(tensor, std::span<double>(values));
  }
  return values;
}

/// How far a tensor is from its golden, in units of what is allowed; own is the error of PyTorch's float.
double excess(const std::string& name, const StoredTensor& tensor, const std::vector<double>& golden, bool wide,
              double own) {
  const std::vector<double> ours = numbers(tensor);
  constexpr std::size_t full = 64, samples = 16, projections = 4;
  const std::size_t picked = ours.size() > full ? samples : ours.size();
  if (golden.size() != picked + projections + 2) return std::numeric_limits<double>::infinity();
  const double scale = golden[golden.size() - 2];
  const double limit = scale * (wide ? 1e-10 : std::max(1e-5, 4.0 * own));
  double worst = 0.0;
  const auto compare = [&](double got, double expected, double allowed) {
    const double distance = std::abs(got - expected);
    if (!(distance <= allowed))
      worst = std::max(worst, std::isnan(distance) ? 1e300 : distance / allowed);
    else if (allowed > 0)
      worst = std::max(worst, distance / allowed);
  };
  const std::uint64_t seed = name_seed(name);
  for (std::size_t i = 0; i < picked; ++i)
    compare(ours[ours.size() > full ? test::hash(seed, i) % ours.size() : i], golden[i], limit);
  for (std::size_t k = 0; k < projections; ++k) {
    double sum = 0.0;
    for (std::size_t i = 0; i < ours.size(); ++i)
      sum += (test::hash(seed ^ 1, i) >> k & 1) == 1 ? ours[i] : -ours[i];
    compare(sum, golden[picked + k], limit * std::sqrt(static_cast<double>(ours.size())));
  }
  return worst;
}

/// The input of a case: x, and a slope for every output.
TensorFile input_of(AnyNetwork& network, const std::vector<Index>& shape, const RunOptions& options) {
  TensorFile input;
  input.tensors["x"] = value("x", shape);
  const TensorFile outputs = network.run(input, options);
  for (const auto& [name, tensor] : outputs.tensors)
    if (name == "y" || name.starts_with("y.")) input.tensors["d" + name] = value("d" + name, tensor.shape);
  return input;
}

/// The error of PyTorch's own float: of the tensor, or, in training, the largest of the case, as the few
/// numbers of one tensor may be lucky where batches of two make batch-norm ill-conditioned.
double own_error(const std::string& prefix, const std::vector<double>& golden, bool trains) {
  double own = golden.back();
  for (auto other = goldens().tensors.lower_bound(prefix);
       trains && other != goldens().tensors.end() && other->first.starts_with(prefix); ++other)
    own = std::max(own, numbers(other->second).back());
  return own;
}

void replay(const std::string& name, const nlohmann::json& description) {
  const auto shape = description["shape"].get<std::vector<Index>>();
  const auto models = all_models();
  const auto model = std::ranges::find(models, description["model"].get<std::string>(), &Model::name);
  REQUIRE(model != models.end());
  const bool trains = description["train"];
  const std::string prefix = name + "/";
  for (const bool wide : {false, true}) {
    Options options(description["options"].get<std::vector<std::string>>());
    const auto network = (wide ? model->in_double : model->in_float)(options, shape);
    TensorFile weights;
    for (const auto& own : network->state()) weights.tensors[own.name] = value(own.name, own.shape);
    const auto input = input_of(*network, shape, {false, 1, false});
    for (const bool channels_last : {false, true}) {
      std::vector<TensorFile> results;
      for (const int threads : {1, 2}) {
        INFO(name << (wide ? ", double" : ", float") << (channels_last ? ", NHWC, " : ", NCHW, ") << threads);
        detail::assign_network_tensors("goldens", weights, network->state());
        const TensorFile result = network->run(input, {channels_last, threads, trains});
        std::size_t expected = 0;
        for (auto golden = goldens().tensors.lower_bound(prefix);
             golden != goldens().tensors.end() && golden->first.starts_with(prefix); ++golden, ++expected) {
          const std::string key = golden->first.substr(prefix.size());
          INFO(key);
          REQUIRE(result.tensors.contains(key));
          const auto expected_numbers = numbers(golden->second);
          REQUIRE(excess(key, result.tensors.find(key)->second, expected_numbers, wide,
                         own_error(prefix, expected_numbers, trains)) <= 1.0);
        }
        CHECK(result.tensors.size() == expected);
        results.push_back(result);
      }
      for (const auto& [key, tensor] : results[0].tensors)
        REQUIRE(results[1].tensors.find(key)->second.bytes == tensor.bytes);
    }
  }
}

/// Replays the goldens of all models whose names begin with one of these.
void replay_all(const std::vector<std::string>& names) {
  std::size_t count = 0;
  for (const auto& [name, text] : goldens().metadata) {
    const auto description = nlohmann::json::parse(text);
    const std::string model = description["model"];
    if (std::ranges::none_of(names, [&](const std::string& start) { return model.starts_with(start); }))
      continue;
    replay(name, description);
    ++count;
  }
  CHECK(count >= names.size());
}

}  // namespace

TEST_CASE("four-head CNNs are PyTorch's", "[network][golden]") { replay_all({"four-head"}); }
TEST_CASE("stacks with any head are PyTorch's", "[network][golden]") {
  replay_all({"conv-gap", "conv-gmp", "pooled-cnn", "keras-cnn", "simple-cnn", "gap-classification"});
}
TEST_CASE("extractors are PyTorch's", "[network][golden]") {
  replay_all({"multi-scale", "progressive", "attention-classifier"});
}
TEST_CASE("blocks and heads are PyTorch's", "[network][golden]") {
  replay_all({"squeeze-excitation", "cbam", "netvlad", "concat-pool", "gem", "lse", "soft", "spp",
              "improved-spp", "softmax-attention", "sigmoid-attention"});
}
TEST_CASE("ResNet-18 is PyTorch's", "[network][golden]") { replay_all({"resnet18"}); }
TEST_CASE("ResNet-50 is PyTorch's", "[network][golden]") { replay_all({"resnet50", "transfer-model"}); }
TEST_CASE("DenseNet-121 is PyTorch's", "[network][golden]") { replay_all({"densenet121"}); }

TEST_CASE("every golden belongs to a network of the list", "[network][golden]") {
  const auto models = all_models();
  std::vector<std::string> seen;
  for (const auto& [name, text] : goldens().metadata) seen.push_back(nlohmann::json::parse(text)["model"]);
  for (const Model& model : models) {
    INFO(model.name);
    CHECK(std::ranges::find(seen, model.name) != seen.end());
  }
}
