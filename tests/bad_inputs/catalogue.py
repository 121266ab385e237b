"""Which rows the catalogue has, and which tests hold those that are no file or setting that a user gives."""

_ROWS = {"X": 34, "I": 20, "C": 18, "S": 12, "G": 16, "R": 26, "D": 6}
CATALOGUE = frozenset(f"{group}{number:02}" for group, count in _ROWS.items() for number in range(1, count + 1))

# paths that leave, absolute paths, links, bombs, folders inside, damage, no archive at all
ADDED = frozenset(f"A{number:02}" for number in range(1, 8))

# signals, kills, numbers that go wrong, several processes: what happens to a run, and what only the code could do wrong
ELSEWHERE = {
    "G11": "bad_inputs/test_bad_inputs.py::test_no_torch_is_accepted_that_runs_what_a_checkpoint_says",
    "G12": "training/test_module.py::test_a_checkpoint_is_complete_and_plain",
    "R01": "cli/test_early_ends.py::test_numbers_that_are_not_finite_end_a_fit_with_3",
    "R02": "cli/test_early_ends.py::test_a_gradient_that_is_not_finite_ends_a_fit_with_3_before_it_reaches_a_weight",
    "R04": "traps/test_pictures.py::test_hf02_targets_are_relative_to_the_picture_as_the_models_boxes_are",
    "R05": "data/test_dataset.py::test_boxes_are_relative_to_the_picture_not_to_the_canvas",
    "R06": "data/test_dataset.py::test_unknown_labels_name_the_classes",
    "R15": "evaluation/test_coco_map.py::test_numbers_that_are_not_finite_are_errors",
    "R16": "prompt/test_phrases.py::test_class_phrases_words_names_and_keeps_order",
    "R17": "traps/test_objective.py::test_hf03_pictures_with_different_prompts_learn_their_own_words",
    "R18": "cli/test_signals.py::test_a_second_interrupt_ends_at_once_and_counts_what_is_lost",
    "R19": "cli/test_signals.py::test_a_signal_ends_a_fit_after_the_step_with_its_code_and_the_way_to_go_on",
    "R20": "cli/test_signals.py::test_a_signal_ends_a_fit_after_the_step_with_its_code_and_the_way_to_go_on",
    "R21": "training/test_checkpoint_io.py::test_no_kill_at_a_random_moment_leaves_an_unreadable_file",
    "R22": "cli/test_signals.py::test_a_run_that_goes_on_equals_one_that_was_never_ended_to_the_bit",
    "R23": "cli/test_kills.py::test_twenty_kills_change_no_bit_of_weights_metrics_and_the_epoch_of_early_stopping",
    "R24": "cli/test_run_lock.py::test_a_run_that_goes_on_elsewhere_is_neither_resumed_nor_scored",
    "R25": "cli/test_early_ends.py::"
    "test_a_disk_that_fills_up_in_a_checkpoint_ends_a_fit_with_4_and_leaves_the_one_before",
    "D01": "several_processes/test_one_step.py::test_two_ranks_learn_what_one_process_does",
    "D02": "several_processes/test_one_step.py::test_two_ranks_learn_what_one_process_does",
    "D03": "several_processes/test_epochs.py::test_one_picture_to_253_are_trained_on_and_scored_on_two_ranks_as_on_one",
    "D04": "several_processes/test_epochs.py::test_one_picture_to_253_are_trained_on_and_scored_on_two_ranks_as_on_one",
    "D05": "several_processes/test_crashes.py::"
    "test_a_signal_to_one_of_two_processes_ends_both_after_the_same_step_and_saves",
    "D06": "several_processes/test_crashes.py::test_two_processes_of_fit_end_together",
}
