from lightning.pytorch.loggers import CSVLogger

from vertebra.tasks.training.saving.metrics_log import MetricsLog

ROWS = [
    ({"a": 1.5, "epoch": 0}, 0),
    ({"a": 2.0, "epoch": 0}, 1),
    ({"b": 3.0, "epoch": 0}, 1),
    ({"a": 4.0, "epoch": 1}, 2),
]


def test_the_file_equals_that_of_lightning(tmp_path):
    ours, theirs = MetricsLog(tmp_path / "a"), CSVLogger(tmp_path / "b", name="logs")
    for logger in (ours, theirs):
        for metrics, step in ROWS:
            logger.log_metrics(metrics, step)
            logger.save()
    assert ours.file == tmp_path / "a/logs/version_0/metrics.csv"
    assert ours.file.read_bytes() == (tmp_path / "b/logs/version_0/metrics.csv").read_bytes()


def test_a_resumed_run_appends_to_the_rows_of_its_checkpoint(tmp_path):
    whole = MetricsLog(tmp_path)
    for metrics, step in ROWS:
        whole.log_metrics(metrics, step)
    text = whole.file.read_text()
    cases = [(0, None, 0), (1, None, 1), (2, None, 3), (3, None, 4), *((None, rows, rows) for rows in range(5))]
    for step, rows, kept in [*cases, (2, 2, 2), (1, 3, 1)]:
        resumed = MetricsLog(tmp_path, resumed=True)
        assert resumed.file == whole.file
        resumed.continue_from(step, rows)
        assert resumed.num_rows == kept
        for metrics, step in ROWS[kept:]:
            resumed.log_metrics(metrics, step)
        assert resumed.file.read_text() == text
    assert MetricsLog(tmp_path).version == 1


def test_a_run_without_checkpoint_restarts_the_file(tmp_path):
    MetricsLog(tmp_path).log_metrics({"a": 1.0}, 0)
    again = MetricsLog(tmp_path, resumed=True)
    again.log_metrics({"b": 2.0}, 5)
    assert again.file.read_text().split() == ["b,step", "2.0,5"]


def test_nothing_is_logged_behind_the_end_of_the_training(tmp_path):
    log = MetricsLog(tmp_path)
    log.log_metrics({"val/map": 0.5}, step=3)
    log.finish()
    log.log_metrics({"val/map": 0.5}, step=4)
    assert log.file.read_text().splitlines() == ["step,val/map", "3,0.5"]
