#include "trainer.hpp"

#include "progress.hpp"

#include <poolhead/core/random.hpp>
#include <poolhead/nn/schedule.hpp>

#include <algorithm>
#include <cmath>

std::atomic<bool> interrupted{false};

namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

NetworkOptions network_options(const TrainOptions& options, const DataSet& data) {
  return {.model = options.model,
          .pool = options.pool,
          .channels = data.train.channels,
          .height = data.train.height,
          .width = data.train.width,
          .classes = data.classes(),
          .init = options.init,
          .bias = options.bias,
          .seed = options.seed};
}

std::variant<ph::Adam<Network>, ph::Sgd<Network>> make_optimizer(const TrainOptions& options,
                                                                 const Network& network) {
  if (options.optimizer == "sgd") {
    return ph::Sgd(network, {.learning_rate = options.learning_rate,
                             .momentum = options.momentum,
                             .weight_decay = options.weight_decay});
  }
  return ph::Adam(network, {.learning_rate = options.learning_rate,
                            .weight_decay = options.weight_decay,
                            .decoupled = options.optimizer == "adamw"});
}

}  // namespace

Trainer::Trainer(const TrainOptions& options, const DataSet& data, bool quiet)
    : options_(options),
      data_(data),
      quiet_(quiet),
      card_{options, network_options(options, data),
            options.normalise == "unit" ? Normalisation::to_unit(data.train.channels)
                                        : Normalisation::of(data.train),
            data.class_names},
      augmentation_(Augmentation::from(options.augment)),
      network_(make_network(card_.network)),
      gradient_(ph::zeros_like(network_)),
      optimizer_(make_optimizer(options, network_)) {}

std::int64_t Trainer::steps_per_epoch() const {
  return (data_.train.size() + options_.batch_size - 1) / options_.batch_size;
}

int Trainer::best_epoch() const {
  const auto best = std::ranges::max_element(history_, {}, &Epoch::validation_accuracy);
  return best == history_.end() ? 0 : best->number;
}

double Trainer::rate() const {
  return std::visit([](const auto& optimizer) { return optimizer.options.learning_rate; }, optimizer_);
}

void Trainer::set_rate(std::int64_t step) {
  const std::int64_t steps = steps_per_epoch() * options_.epochs;
  const double base = options_.learning_rate;
  double rate = base;
  if (options_.schedule == "step") {
    rate = ph::StepRate{base, std::max<std::int64_t>(steps / 3, 1)}(step);
  } else if (options_.schedule == "cosine") {
    rate = ph::CosineRate{base, steps}(step);
  } else if (options_.schedule == "one-cycle") {
    const ph::OneCycleRate cycle{.max_rate = base, .steps = steps};
    rate = cycle(step);
    std::visit(
        [&](auto& optimizer) {
          if constexpr (requires { optimizer.options.beta1; })
            optimizer.options.beta1 = cycle.momentum(step);
          else
            optimizer.options.momentum = cycle.momentum(step);
        },
        optimizer_);
  }
  std::visit([&](auto& optimizer) { optimizer.options.learning_rate = rate; }, optimizer_);
}

bool Trainer::train_epoch(GradientRunner& runner, const Network::Device& device) {
  const int epoch = static_cast<int>(history_.size()) + 1;
  const ph::Index count = data_.train.size();
  // Everything random follows from the seed, the epoch, the step and the image.
  const ph::Random random = ph::Random(options_.seed).stream(static_cast<std::uint64_t>(epoch));
  const auto order = options_.order == "file" ? in_order(count) : shuffled(count, random.bits(0));
  Progress progress(format("epoch %*d/%d", options_.epochs > 9 ? 2 : 1, epoch, options_.epochs), count, quiet_);
  Batch batch(options_.channels_last());
  const auto start = Clock::now();
  const double seconds_before = seconds_;
  const std::int64_t first_step = step_;
  while (step_ < steps_per_epoch()) {
    const ph::Index first = step_ * options_.batch_size, size = std::min(options_.batch_size, count - first);
    batch.gather(data_.train, card_.normalisation,
                 std::span(order).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(size)),
                 augmentation_, random.bits(1));
    const std::int64_t step = (epoch - 1) * steps_per_epoch() + step_;
    set_rate(step);
    const auto sum = runner.run(network_, batch, static_cast<std::uint64_t>(step), gradient_, device);
    std::visit([&](auto& optimizer) { optimizer.step(network_, gradient_, device); }, optimizer_);
    sum_.loss += sum.loss;
    sum_.correct += sum.correct;
    ++step_;
    seconds_ = seconds_before + since(start);
    const ph::Index done = first + size;
    const double seen = static_cast<double>(done);
    const double speed =
        static_cast<double>(std::min(count, (step_ - first_step) * options_.batch_size)) / since(start);
    const double left =
        (static_cast<double>(count - done) + static_cast<double>(count) * (options_.epochs - epoch)) / speed;
    const long eta = std::lround(left);
    progress.show(done, format("%.0f images/s, ETA %ld:%02ld, loss %.4f, accuracy %5.2f %%", speed, eta / 60,
                               eta % 60, sum_.loss / seen, 100.0 * static_cast<double>(sum_.correct) / seen));
    if (interrupted && step_ < steps_per_epoch()) {
      progress.finish(format("stopped after step %lld of %lld", static_cast<long long>(step_),
                             static_cast<long long>(steps_per_epoch())));
      return false;
    }
  }
  const Outputs outputs =
      outputs_of(network_, data_.validation, card_.normalisation, options_.channels_last(), device);
  const double images = static_cast<double>(count);
  Epoch line{epoch,
             rate(),
             sum_.loss / images,
             static_cast<double>(sum_.correct) / images,
             outputs.loss(),
             outputs.accuracy(),
             seconds_};
  history_.push_back(line);
  card_.epoch = epoch;
  step_ = 0;
  sum_ = {};
  seconds_ = 0.0;
  progress.finish(format(
      "loss %.4f, accuracy %5.2f %%; validation loss %.4f, accuracy %5.2f %%%s (%.1f s, %.0f images/s)",
      line.train_loss, 100.0 * line.train_accuracy, line.validation_loss, 100.0 * line.validation_accuracy,
      best_epoch() == epoch ? ", best" : "", line.seconds, images / line.seconds));
  return true;
}

bool Trainer::run(const Network::Device& device, const RunFiles* files) {
  GradientRunner runner;
  // Even a run that is killed in its first epoch leaves something to resume.
  if (files != nullptr) save_checkpoint(*files);
  while (static_cast<int>(history_.size()) < options_.epochs && !interrupted) {
    const bool complete = train_epoch(runner, device);
    if (files == nullptr) continue;
    if (complete)
      save_epoch(*files);
    else
      save_checkpoint(*files);
  }
  return static_cast<int>(history_.size()) >= options_.epochs;
}
