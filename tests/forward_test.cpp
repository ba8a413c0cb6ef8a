// The program poolhead_forward, from outside: what it lists, what it computes from files, what it refuses.
#include <poolhead/io/safetensors.hpp>

#include "support/catch.hpp"
#include "support/data.hpp"

#include <sys/wait.h>
#include <unistd.h>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace poolhead;

namespace {

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Done {
  int code;
  std::string out, err;
};

/// A folder of its own for each test.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "poolhead_forward_XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  /// Runs the program in the folder; arguments are words of the shell.
  Done run(const std::string& arguments) const {
    const std::string command =
        "cd '" + path_.string() + "' && '" POOLHEAD_FORWARD "' " + arguments + " >out 2>err </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, contents(path_ / "out"), contents(path_ / "err")};
  }

 private:
  std::filesystem::path path_;
};

template <class T = float>
StoredTensor noise(const std::vector<Index>& shape, std::uint64_t seed) {
  std::vector<T> values(*detail::stored_size(DType::f32, shape) / 4);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<T>(static_cast<float>(test::hash(seed, i) >> 40) * 0x1p-23f - 1.0f);
  return store_tensor(std::span<const T>(values), shape);
}
std::vector<double> numbers(const StoredTensor& tensor) {
  std::vector<double> values(*detail::stored_size(DType::f64, tensor.shape) / 8);
  copy_values(tensor, std::span<double>(values));
  return values;
}

/// Weights for the model as --list describes it: small noise, variances of 1.
void write_weights(const Folder& folder, const std::string& model) {
  const Done list = folder.run("--list --model " + model);
  REQUIRE(list.code == 0);
  std::istringstream lines(list.out);
  TensorFile file;
  std::string line;
  std::getline(lines, line);
  for (std::uint64_t seed = 1; std::getline(lines, line); ++seed) {
    REQUIRE(line.starts_with("  "));
    const std::size_t bracket = line.find('[');
    const std::string name = line.substr(2, bracket - 3);
    const auto shape = nlohmann::json::parse(line.substr(bracket)).get<std::vector<Index>>();
    if (name.ends_with("num_batches_tracked")) {
      const std::int64_t three = 3;
      file.tensors[name] = store_tensor(std::span(&three, 1), shape);
      continue;
    }
    std::vector<double> values = numbers(noise(shape, seed));
    for (double& value : values)
      value = name.ends_with("running_var") ? 1.0 : name.ends_with(".p") ? 3.0 : 0.1 * value;
    file.tensors[name] = store_tensor(std::span<const double>(values), shape);
  }
  write_safetensors(folder / "w", file);
}
void write_input(const Folder& folder, const std::map<std::string, StoredTensor, std::less<>>& tensors) {
  write_safetensors(folder / "x", {tensors, {}});
}

const std::string files = " --weights w --input x --output y";

TensorFile result(const Folder& folder, const std::string& arguments) {
  std::filesystem::remove(folder / "y");
  const Done done = folder.run(arguments + files);
  INFO(done.err);
  REQUIRE(done.code == 0);
  REQUIRE(done.err.empty());
  return read_safetensors(folder / "y");
}
std::string names(const TensorFile& file) {
  std::string all;
  for (const auto& [name, tensor] : file.tensors) all += (all.empty() ? "" : " ") + name;
  return all;
}

}  // namespace

TEST_CASE("the list has every network, block and head with its options and parameters", "[forward]") {
  const Folder folder;
  const Done done = folder.run("--list");
  REQUIRE(done.code == 0);
  for (const std::string name : {"four-head-basic",
                                 "four-head-branches",
                                 "four-head-filters",
                                 "four-head",
                                 "conv-gap",
                                 "conv-gmp",
                                 "pooled-cnn",
                                 "multi-scale",
                                 "progressive",
                                 "attention-classifier",
                                 "gap-classification",
                                 "simple-cnn",
                                 "keras-cnn",
                                 "transfer-model",
                                 "resnet18",
                                 "resnet50",
                                 "densenet121",
                                 "densenet121-attention",
                                 "squeeze-excitation",
                                 "cbam",
                                 "netvlad",
                                 "concat-pool",
                                 "gem",
                                 "lse",
                                 "soft",
                                 "spp",
                                 "improved-spp",
                                 "softmax-attention",
                                 "sigmoid-attention"}) {
    INFO(name);
    CHECK(("\n" + done.out).find("\n" + name + " ") != std::string::npos);
  }
  CHECK(
      done.out.starts_with("four-head-basic num_classes=10 in_channels=3 hidden=256\n"
                           "  conv_layers.0.weight [32, 3, 3, 3]\n"));

  const Done one =
      folder.run("--list --model pooled-cnn --option pool=softmax-attention --option num_classes=7");
  CHECK(one.out.find("pool=softmax-attention") != std::string::npos);
  CHECK(one.out.find("\n  global_pool.attention.0.weight [16, 256, 1, 1]\n") != std::string::npos);
  CHECK(one.out.find("\n  classifier.weight [7, 256]\n") != std::string::npos);
}

TEST_CASE("any floating dtype will do, and other tensors are ignored", "[forward]") {
  const Folder folder;
  write_weights(folder, "conv-gap");
  const StoredTensor x = noise<Eigen::bfloat16>({2, 1, 9, 10}, 5);
  const std::vector<double> values = numbers(x);
  const auto as = [&]<class T>(T) {
    std::vector<T> converted;
    for (const double value : values) converted.push_back(static_cast<T>(static_cast<float>(value)));
    return store_tensor(std::span<const T>(converted), x.shape);
  };
  write_input(folder, {{"x", as(0.0f)}});
  const auto expected = numbers(result(folder, "--model conv-gap").tensors["y"]);
  CHECK(expected.size() == 20);
  for (const StoredTensor& same : {as(0.0), as(Eigen::bfloat16()), x}) {
    write_input(folder, {{"x", same},
                         {"labels", store_tensor(std::span<const std::int64_t>(), std::array<Index, 1>{0})}});
    const auto file = result(folder, "--model conv-gap");
    CHECK(names(file) == "y");
    CHECK(file.tensors.at("y").dtype == DType::f32);
    CHECK(numbers(file.tensors.at("y")) == expected);
  }
  write_input(folder, {{"x", as(Eigen::half())}});
  for (const std::string arguments : {"--double", "--double --layout nhwc", "--layout nhwc --threads 2"}) {
    const auto file = result(folder, "--model conv-gap " + arguments);
    const auto got = numbers(file.tensors.at("y"));
    CHECK((file.tensors.at("y").dtype == DType::f64) == (arguments.find("double") != std::string::npos));
    for (std::size_t i = 0; i < got.size(); ++i) REQUIRE(std::abs(got[i] - expected[i]) < 1e-4);
  }
}

TEST_CASE("a batch of none gives no rows", "[forward]") {
  const Folder folder;
  write_weights(folder, "gap-classification");
  write_input(folder, {{"x", noise({0, 512, 3, 3}, 5)}, {"dy", noise({0, 1000}, 6)}});
  for (const std::string mode : {"eval", "train"}) {
    const auto file = result(folder, "--model gap-classification --mode " + mode);
    CHECK(file.tensors.at("y").shape == std::vector<Index>{0, 1000});
    CHECK(file.tensors.at("dx").shape == std::vector<Index>{0, 512, 3, 3});
    for (const double value : numbers(file.tensors.at("grad.features.0.weight"))) REQUIRE(value == 0.0);
  }
}

TEST_CASE("training writes the updated buffers", "[forward]") {
  const Folder folder;
  write_weights(folder, "gap-classification");
  write_input(folder, {{"x", noise({2, 512, 3, 3}, 5)}});
  const auto file = result(folder, "--model gap-classification --mode train");
  CHECK(names(file) == "features.1.num_batches_tracked features.1.running_mean features.1.running_var y");
  std::int64_t tracked = 0;
  copy_values(file.tensors.at("features.1.num_batches_tracked"), std::span(&tracked, 1));
  CHECK(tracked == 4);
  CHECK(file.tensors.at("features.1.num_batches_tracked").shape.empty());
}

TEST_CASE("frozen backbones have no gradient, and without a top y is the features", "[forward]") {
  const Folder folder;
  const std::string frozen = "resnet18 --option frozen=1 --option pool=gem --option num_classes=3";
  write_weights(folder, frozen);
  write_input(folder, {{"x", noise({1, 3, 32, 32}, 5)}, {"dy", noise({1, 3}, 6)}});
  CHECK(names(result(folder, "--model " + frozen)) == "grad.avgpool.p grad.fc.bias grad.fc.weight y");

  const std::string features = "resnet18 --option include_top=0";
  write_weights(folder, features);
  write_input(folder, {{"x", noise({1, 3, 32, 32}, 5)}});
  CHECK(result(folder, "--model " + features).tensors.at("y").shape == std::vector<Index>{1, 512});
}

TEST_CASE("several outputs have names of their own, and slopes that are absent are 0", "[forward]") {
  const Folder folder;
  write_weights(folder, "multi-scale");
  const auto x = noise({1, 3, 16, 16}, 5);
  write_input(folder, {{"x", x}, {"dy.global.3", noise({1, 512}, 6)}});
  const auto file = result(folder, "--model multi-scale");
  CHECK(file.tensors.at("y.spatial.1").shape == std::vector<Index>{1, 128, 4, 4});
  CHECK(file.tensors.at("y.global.3").shape == std::vector<Index>{1, 512});
  CHECK(file.tensors.contains("dx"));
  write_input(folder, {{"x", x}, {"dy.spatial.0", noise({1, 64, 8, 8}, 6)}});
  for (const double value :
       numbers(result(folder, "--model multi-scale").tensors.at("grad.conv_blocks.1.0.weight")))
    REQUIRE(value == 0.0);
}

TEST_CASE("whatever is wrong gets one line that names the file, and writes nothing", "[forward]") {
  const Folder folder;
  write_weights(folder, "conv-gap");
  write_input(folder, {{"x", noise({2, 1, 9, 10}, 5)}});
  const auto refused = [&](const std::string& arguments, const std::string& part) {
    const Done done = folder.run(arguments);
    INFO(arguments << "\n" << done.err);
    CHECK(done.code == 2);
    CHECK(done.out.empty());
    CHECK(done.err.size() <= 301);
    CHECK(std::count(done.err.begin(), done.err.end(), '\n') == 1);
    CHECK(done.err.find(part) != std::string::npos);
    CHECK(!std::filesystem::exists(folder / "y"));
  };
  const std::string all = "--model conv-gap" + files;
  refused("--model nothing" + files, "nothing");
  refused(all + " --layout sideways", "--layout");
  refused(all + " --threads 0", "--threads");
  refused(all + " --option hidden=3", "hidden");
  refused(all + " --option num_classes=0", "num_classes");
  refused(all + " --option num_classes", "key=value");
  refused(all + " --option num_classes=4", "w: network.15.weight is [10, 32, 1, 1], expected [4, 32, 1, 1]");
  refused("--model conv-gap --weights w --input x", "--output");
  refused("--model conv-gap --weights none --input x --output y", "none");
  refused("--model conv-gap --weights w --input none --output y", "none");
  refused("--model conv-gap --weights x --input x --output y", "x: missing network.0.weight");
  refused("--model conv-gap --weights w --input x --output nowhere/y", "nowhere");
  refused("--model conv-gap --weights \"$(printf 'a\\nb\\033c')\" --input x --output y", "a\\x0ab\\x1bc");
  refused("--model resnet50 --weights w --input x --output y", "w: missing conv1.weight");

  std::ofstream(folder / "cut") << "short";
  refused("--model conv-gap --weights cut --input x --output y", "cut");
  refused("--model conv-gap --weights w --input cut --output y", "cut");
  auto extra = read_safetensors(folder / "w");
  extra.tensors["one\ntwo"] = noise({2}, 1);
  write_safetensors(folder / "extra", extra);
  refused("--model conv-gap --weights extra --input x --output y", "extra: unexpected \"one\\ntwo\"");

  const auto bad_input = [&](const std::map<std::string, StoredTensor, std::less<>>& tensors,
                             const std::string& part) {
    write_input(folder, tensors);
    refused(all, "x: " + part);
  };
  const auto x = noise({2, 1, 9, 10}, 5);
  bad_input({{"y", x}}, "there is no tensor x");
  bad_input({{"x", noise({2, 9, 10}, 5)}}, "x is [2, 9, 10]");
  bad_input({{"x", noise({2, 3, 9, 10}, 5)}}, "Conv2d");
  bad_input({{"x", noise({2, 1, 7, 10}, 5)}}, "MaxPool2d");
  bad_input({{"x", noise({2, 1, 0, 10}, 5)}}, "Conv2d");
  bad_input({{"x", x}, {"dy", noise({2, 9}, 5)}}, "dy is [2, 9], expected [2, 10]");
  const std::vector<std::int64_t> whole(4, 1);
  bad_input({{"x", store_tensor(std::span<const std::int64_t>(whole), std::array<Index, 4>{1, 1, 2, 2})}},
            "copy_values: I64");
}
