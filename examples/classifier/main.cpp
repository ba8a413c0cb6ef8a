// Trains the four-head CNN on the embedded data set or on an MNIST-like directory, compares its pools, saves
// it.
#define EIGEN_USE_THREADS

#include <poolhead/io/mnist.hpp>
#include <poolhead/io/weights.hpp>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <thread>

#include "synthetic.hpp"
#include "training.hpp"

namespace ph = poolhead;

namespace {

struct Options {
  std::string data = "synthetic";
  TrainingOptions training;
  int threads = 0;
  std::filesystem::path weights = "four-head-basic.safetensors";
};

struct Row {
  std::string heads;
  Score score;
  double seconds;
};

/// Trains four-head-basic with the given pools; saves it where a path is given.
template <class... Pools>
Row run(const std::string& heads, const ph::LabelledImages& images, const ph::LabelledImages& validation,
        const Options& options, const std::filesystem::path& weights) {
  Eigen::ThreadPool pool(options.threads);
  const Eigen::ThreadPoolDevice device(&pool, options.threads);
  auto network =
      ph::four_head_basic<float, Pools...>({.in_channels = 1, .num_classes = 10}, options.training.seed);
  std::printf("\n%s\n", heads.c_str());
  const auto start = std::chrono::steady_clock::now();
  const Score score = train(network, images, validation, options.training, device);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!weights.empty()) ph::save_parameters(weights, network);
  return {heads, score, seconds};
}

Options parse(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Trains four-head-basic (one convolutional stem, four branches, a global pool on each) and compares its "
      "pools.\n"
      "Exit codes: 0 done, 2 for anything wrong with the arguments or the files."};
  app.add_option(
         "--data", options.data,
         "'synthetic' (embedded: 10 classes, 8,000 + 2,000 images) or a directory with the four MNIST-like "
         "IDX files, plain or .gz")
      ->capture_default_str();
  app.add_option("--epochs", options.training.epochs, "passes over the training split")
      ->default_val(3)
      ->check(CLI::Range(1, 10000));
  app.add_option("--batch-size", options.training.batch_size, "images per step")
      ->default_val(64)
      ->check(CLI::Range(1, 65536));
  app.add_option("--learning-rate", options.training.learning_rate, "Adam's step size")
      ->default_val(1e-3)
      ->check(CLI::Range(0.0, 10.0));
  app.add_option("--seed", options.training.seed, "of weights, order and embedded data")->default_val(1);
  app.add_option("--threads", options.threads, "default: one per core")->check(CLI::Range(1, 1024));
  app.add_option("--weights", options.weights, "where the trained weights go (safetensors)")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    std::exit(app.exit(help));
  }
  if (options.threads == 0)
    options.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return options;
}

int train_and_compare(Options options) {
  const auto directory = std::filesystem::absolute(options.weights).parent_path();
  if (!std::filesystem::is_directory(directory)) {
    throw ph::FileError(options.weights.string() + ": cannot be written, " + directory.string() +
                        " is not a directory");
  }
  const bool embedded = options.data == "synthetic";
  const auto read = [&](ph::Split split) {
    if (!embedded) return ph::read_mnist(options.data, split);
    const bool training = split == ph::Split::train;
    return synthetic::generate(split, training ? synthetic::train_size : synthetic::validation_size,
                               options.training.seed);
  };
  const auto images = read(ph::Split::train);
  const auto validation = read(ph::Split::validation);
  std::printf("data %s: %td + %td images of %tdx%td, 10 classes; %d thread%s\n", options.data.c_str(),
              images.size(), validation.size(), images.height, images.width, options.threads,
              options.threads == 1 ? "" : "s");

  using Max = ph::GlobalMaxPool;
  using Average = ph::GlobalAveragePool;
  std::vector<Row> rows;
  rows.push_back(run<Max, Average, Max, Average>("four-head-basic (max, average, max, average)", images,
                                                 validation, options, options.weights));
  if (embedded) {
    rows.push_back(run<Average, Average, Average, Average>("four GAP heads", images, validation, options, {}));
    rows.push_back(run<Max, Max, Max, Max>("four GMP heads", images, validation, options, {}));
  }

  std::printf("\n%-46s %10s %10s %8s\n", "heads", "accuracy", "loss", "seconds");
  for (const Row& row : rows) {
    std::printf("%-46s %8.2f %% %10.4f %8.1f\n", row.heads.c_str(), 100.0 * row.score.accuracy, row.score.loss,
                row.seconds);
  }
  std::printf("\nweights of the first: %s\n", options.weights.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int bad_input = 2;
  try {
    return train_and_compare(parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "poolhead_classifier: %s\n", error.what());
    return bad_input;
  }
}
