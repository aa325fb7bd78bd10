#!/usr/bin/env bash
# `make provision-rehearsal`: provisions two emulated boards dressed as fresh Orins (twice: the second time changes
# nothing), checks them, trains the paper's unchanged experiment on them, restores them and compares their state.
. playbooks/lab_session.sh

# Generated images and random weights in files of the same format replace downloads of CIFAR-100 and ImageNet's weights.
images=.cache/provision_rehearsal.tar.gz weights=.cache/provision_rehearsal.h5
.venv/bin/python -c "from pathlib import Path; from controller.synthetic import write_archive
write_archive(Path('$images'), 320, 64)"
[ -e "$weights" ] || TF_CPP_MIN_LOG_LEVEL=2 TF_USE_LEGACY_KERAS=1 .board-venv/bin/python -c "from tensorflow import keras
model = keras.applications.MobileNetV2(input_shape=(64, 64, 3), include_top=False, weights=None)
model.save_weights('$weights')"

[ ! -e .lab ] || play playbooks/lab_down.yml # existing boards are not fresh
play playbooks/lab_up.yml -e lab_dress=orin -e lab_link_rate=1gbit
play playbooks/lab_snapshot.yml
play playbooks/provision.yml
play playbooks/provision.yml | tee .cache/provision_rehearsal.log
if grep -q 'board.* changed=[^0]' .cache/provision_rehearsal.log; then
  echo 'Provisioning changed something the second time.' >&2
  exit 1
fi
play playbooks/check.yml
play playbooks/run_experiment.yml -e workers=2 -e experiment=paper -e "{override: {epochs: 2, data:
  {path: $images, train_images: 320, validation_images: 64}, model: {weights: $weights}}}"
play playbooks/restore.yml -e purge=true
play playbooks/lab_snapshot.yml
