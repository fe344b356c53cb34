import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from storing import stored, stored_again

from riskweave.errors import DataError
from riskweave.modalities.sparse import SparseColumn
from riskweave.survival.arrays import as_columns
from riskweave.survival.preprocessing import DesignMatrix, DropRedundant, FeatureTable, Winsorise


def ids(n, start=0):
    return pd.Index([f"{i:04d}" for i in range(start, start + n)], dtype=object)


def ehr(n=60, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.normal(60, 10, n)
    lab = np.where(rng.random(n) < 0.3, np.nan, rng.normal(5, 1, n))
    frame = pd.DataFrame(
        {
            "age": age,
            "sex": rng.choice(["F", "M"], n),
            "lab": lab,
            "lab_max": lab * 2 + rng.normal(0, 0.1, n),
            "constant": 3.0,
            "empty": np.nan,
            "age_months": age * 12,
        },
        index=ids(n),
    )
    return FeatureTable(name="clinic", modality="ehr", frame=frame, categorical=("sex",))


def ecg(n=40, start=20):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"rate": rng.normal(70, 8, n), "emb_0": rng.normal(size=n)}, index=ids(n, start))
    return FeatureTable(name="ecg", modality="ecg", frame=frame)


def within_quantiles(values: pd.Series) -> pd.Series:
    """Return values pulled in to the 0.5 and 99.5 % quantiles, as the preprocessing does before scaling."""
    return values.clip(*np.nanquantile(values, [0.005, 0.995]))


def test_columns_by_hand():
    table, train = ehr(), ids(60)
    fusion = DesignMatrix().fit([table], train)
    # The second missing-value indicator, the second sex and the age in months copy others; constants are gone.
    assert fusion.columns_ == [
        "clinic.age", "clinic.lab", "clinic.lab_max", "clinic.lab=missing", "clinic.sex=F",
    ]  # fmt: skip
    design = fusion.design([table], train).frame()
    frame = table.frame
    age, lab = within_quantiles(frame["age"]), within_quantiles(frame["lab"])
    np.testing.assert_allclose(design["clinic.age"], (age - age.mean()) / age.std(ddof=0))
    filled = lab.fillna(lab.median())
    np.testing.assert_allclose(design["clinic.lab"], (filled - filled.mean()) / filled.std(ddof=0))
    missing = frame["lab"].isna().astype(float)
    np.testing.assert_allclose(design["clinic.lab=missing"], (missing - missing.mean()) / missing.std(ddof=0))


def test_absent_modality_is_zero_and_masked():
    tables, subjects = [ehr(), ecg()], ids(60)
    fusion = DesignMatrix().fit(tables, subjects)
    design = fusion.design(tables, subjects).frame()
    assert fusion.columns_[-3:] == ["ecg.rate", "ecg.emb_0", "has_ecg"]
    assert (design.loc[ids(20), ["ecg.rate", "ecg.emb_0", "has_ecg"]] == 0).all(axis=None)
    present = design.loc[ids(40, 20)]
    assert (present["has_ecg"] == 1).all()
    # Scaled among those who have it: 0 is their mean.
    assert abs(present["ecg.rate"].mean()) < 1e-12
    assert present["ecg.rate"].std(ddof=0) == pytest.approx(1)
    assert "has_ehr" not in design


def test_nothing_is_learnt_from_rows_outside_training():
    tables, train, test = [ehr(), ecg()], ids(40), ids(20, 40)
    fusion = DesignMatrix().fit(tables, train)
    garbage = []
    for table in tables:
        frame = table.frame.copy()
        rows = frame.index.isin(test)
        for column in frame.columns:
            frame.loc[rows, column] = "alien" if column in table.categorical else 1e9
        garbage.append(FeatureTable(table.name, table.modality, frame, table.categorical))
    other = DesignMatrix().fit(garbage, train)
    assert other.columns_ == fusion.columns_
    pd.testing.assert_frame_equal(
        other.design(tables, train).frame(), fusion.design(tables, train).frame(), check_exact=True
    )
    pd.testing.assert_frame_equal(
        other.design(tables, test).frame(), fusion.design(tables, test).frame(), check_exact=True
    )


def test_unseen_values_are_handled():
    table = ehr()
    fusion = DesignMatrix().fit([table], ids(60))
    frame = pd.DataFrame(
        {"age": [np.nan, 50.0], "sex": ["X", None], "lab": 4.0, "lab_max": 8.0, "constant": 9.0, "empty": 1.0,
         "age_months": 600.0},
        index=pd.Index(["a", "b"], dtype=object),
    )  # fmt: skip
    design = fusion.design([FeatureTable("clinic", "ehr", frame, ("sex",))], frame.index).frame()
    assert np.isfinite(design.to_numpy()).all()
    age = within_quantiles(table.frame["age"])
    assert design["clinic.age"].iloc[0] == pytest.approx((age.median() - age.mean()) / age.std(ddof=0))
    # An unseen category and a missing one are none of the known ones.
    assert design["clinic.sex=F"].iloc[0] == design["clinic.sex=F"].iloc[1] < 0


def test_missing_and_rare_categories():
    n = 1000
    group = np.array(["a"] * 480 + ["b"] * 480 + ["c"] * 5 + ["d"] * 7 + [None] * 28, dtype=object)
    frame = pd.DataFrame({"group": group}, index=ids(n))
    table = FeatureTable("clinic", "ehr", frame, ("group",))
    fusion = DesignMatrix().fit([table], ids(n))
    assert fusion.columns_ == [f"clinic.group={name}" for name in ("a", "b", "missing", "other")]
    unseen = pd.DataFrame({"group": ["z", "c"]}, index=pd.Index(["y", "z"], dtype=object))
    design = fusion.design([FeatureTable("clinic", "ehr", unseen, ("group",))], unseen.index).frame()
    assert (design.iloc[0] == design.iloc[1]).all()


def test_rare_categories_are_not_stored(tmp_path):
    n = 1000
    group = np.array(["common"] * 940 + ["Quimby syndrome"] * 5 + ["other"] * 55, dtype=object)
    table = FeatureTable("clinic", "ehr", pd.DataFrame({"group": group}, index=ids(n)), ("group",))
    fusion = DesignMatrix().fit([table], ids(n))
    assert b"Quimby" not in stored(fusion, tmp_path)
    assert b"common" in stored(fusion, tmp_path)
    # The user's own "other" is where rare ones go; of two columns that are each other's complement the first stays.
    assert fusion.columns_ == ["clinic.group=common"]


def test_no_category_is_about_fewer_than_ten_people_in_a_small_cohort_either(tmp_path):
    group = np.array(["a"] * 180 + ["b"] * 90 + ["c"] * 21 + ["Quimby syndrome"] * 9, dtype=object)
    table = FeatureTable("clinic", "ehr", pd.DataFrame({"group": group}, index=ids(300)), ("group",))
    fusion = DesignMatrix().fit([table], ids(300))
    assert fusion.categories_["ehr"]["clinic.group"] == ("a", "b", "c")
    assert "clinic.group=other" in fusion.columns_
    assert b"Quimby" not in stored(fusion, tmp_path)


def test_what_few_people_have_is_rare_however_many_index_times_they_have():
    n, rng = 2000, np.random.default_rng(0)
    people = pd.Series([f"p{i // 10}" for i in range(n)], index=ids(n))[::-1]  # 200 people: rare below 2
    group = np.array(["own"] * 10 + ["common"] * 990 + ["many"] * 1000, dtype=object)
    frame = pd.DataFrame({"x": rng.normal(size=n), "flag": 0.0, "group": group}, index=ids(n))
    frame.iloc[10:20, 1] = 1.0
    matrix = np.zeros((n, 3), dtype=np.float32)
    matrix[:10, 0], matrix[::2, 1], matrix[::3, 2] = 1, 1, 1
    sparse = SparseColumn(("rare", "even", "third"), 2, ids(n), scipy.sparse.csr_array(matrix))
    tables = [
        FeatureTable("clinic", "ehr", frame, ("group",), {"past": sparse}),
        FeatureTable("image", "image", pd.DataFrame(index=ids(10))),
    ]
    fusion = DesignMatrix().fit(tables, ids(n), people)
    assert fusion.columns_ == [
        "clinic.x", "clinic.past:svd_01", "clinic.past:svd_02", "clinic.group=common", "clinic.group=many",
    ]  # fmt: skip
    assert fusion.histories_["clinic", "past"].codes_ == ["even", "third"]
    alone = DesignMatrix().fit(tables, ids(n)).columns_
    assert {"clinic.flag", "clinic.group=own", "has_image"} <= set(alone)


def test_columns_that_single_out_few_subjects_are_dropped():
    n = 2000
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=n), "rare": 0.0, "common": 0.0, "gap": rng.normal(size=n)}, index=ids(n))
    frame.iloc[:4, 1] = 1.0
    frame.iloc[:40, 2] = 1.0
    frame.iloc[:3, 3] = np.nan
    fusion = DesignMatrix().fit([FeatureTable("clinic", "ehr", frame)], ids(n))
    assert fusion.columns_ == ["clinic.x", "clinic.common", "clinic.gap"]


def test_modality_absent_in_all_training_rows_is_left_out():
    tables = [ehr(), ecg()]
    fusion = DesignMatrix().fit(tables, ids(20))
    assert not [name for name in fusion.columns_ if "ecg" in name]
    assert np.isfinite(fusion.design(tables, ids(60)).values).all()


def test_sets_of_one_modality_share_a_mask():
    first, second = ecg(), ecg()
    tables = [first, FeatureTable("ecg2", "ecg", second.frame[["rate"]] ** 2)]
    fusion = DesignMatrix().fit(tables, ids(60))
    assert fusion.columns_ == ["ecg.rate", "ecg.emb_0", "ecg2.rate", "has_ecg"]


def test_only_the_mask_is_left_of_a_table_without_columns():
    table = FeatureTable("image", "image", pd.DataFrame(index=ids(30)))
    fusion = DesignMatrix().fit([table], ids(60))
    assert fusion.columns_ == ["has_image"]
    assert fusion.design([table], ids(60)).frame()["has_image"].sum() == 30


def test_nothing_is_left_where_no_column_varies():
    table = FeatureTable("clinic", "ehr", pd.DataFrame({"a": 1.0, "b": np.nan}, index=ids(30)))
    fusion = DesignMatrix().fit([table], ids(30))
    assert fusion.columns_ == []
    assert fusion.design([table], ids(30)).frame().shape == (30, 0)


def test_rare_continuous_values_survive():
    values = np.zeros(4000)
    values[:19] = np.arange(1, 20)
    fitted = Winsorise().fit(pd.DataFrame({"count": values}))
    assert fitted.transform(pd.DataFrame({"count": values}))["count"].max() == 19


def test_infinite_values_are_an_error():
    frame = pd.DataFrame({"a": [1.0, np.inf, 2.0]}, index=ids(3))
    with pytest.raises(DataError, match="column a: 1 subjects have an infinite value"):
        FeatureTable("clinic", "ehr", frame)


def test_redundant_columns():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50))
    frame = pd.DataFrame({"a": a, "b": b, "a_scaled": 3 * a + 1, "b_turned": -b, "flat": 1e9, "ab": a + b})
    assert list(DropRedundant().fit(frame).get_feature_names_out()) == ["a", "b", "ab"]


def test_outer_values_are_pulled_in_by_training_quantiles_only():
    rng = np.random.default_rng(0)
    train = pd.DataFrame({"slope": rng.normal(size=1000), "rare": np.arange(1000) < 3, "gaps": np.nan})
    train.loc[0, "slope"], train.loc[5, "slope"] = 19_000.0, np.nan
    train["rare"] = train["rare"].astype(float)
    fitted = Winsorise(tail=0.005).fit(train)
    test = pd.DataFrame({"slope": [-1e6, 0.5, np.nan], "rare": [0.0, 1.0, 1.0], "gaps": [np.nan, 1.0, 2.0]})
    out = fitted.transform(test)
    assert out["slope"].iloc[0] == train["slope"].quantile(0.005)
    assert out["slope"].iloc[1] == 0.5
    assert np.isnan(out["slope"].iloc[2])
    assert fitted.transform(train)["slope"].max() < 5
    pd.testing.assert_series_equal(out["rare"], test["rare"])
    pd.testing.assert_series_equal(out["gaps"], test["gaps"])


def test_the_design_knows_whose_columns_are_whose():
    tables, subjects = [ehr(), ecg()], ids(60)
    design = DesignMatrix().fit(tables, subjects).design(tables, subjects)
    assert [group.modality for group in design.groups] == ["ehr", "ecg"]
    assert design.names_of_group(1) == ["ecg.rate", "ecg.emb_0"]
    assert [group.mask for group in design.groups] == [None, design.columns.index("has_ecg")]
    np.testing.assert_array_equal(design.of_group(1), design.frame()[["ecg.rate", "ecg.emb_0"]])
    assert design.present.sum(axis=0).tolist() == [60, 40]
    some = design.take(np.array([0, 30]))
    assert (list(some.subjects), len(some)) == (["0000", "0030"], 2)
    assert some.used().tolist() == [[True, False], [True, True]]


def test_a_modality_of_which_no_column_varies_is_not_used():
    flat = FeatureTable("image", "image", pd.DataFrame({"emb_0": 0.0}, index=ids(30)))
    design = DesignMatrix().fit([ehr(), flat], ids(60)).design([ehr(), flat], ids(60))
    assert design.columns[-1] == "has_image"
    assert design.present[:, 1].sum() == 30
    assert not design.used()[:, 1].any()


def test_subjects_of_one_person_are_told():
    design = DesignMatrix().fit([ehr()], ids(60)).design([ehr()], ids(60))
    assert len(set(design.people)) == 60
    owners = pd.Series(np.arange(60) // 2, index=ids(60))[::-1]
    assert design.of_person(owners).take(np.array([3, 2, 8])).people.tolist() == [1, 1, 4]
    assert design.of_person(None) is design


def test_designs_have_the_digits_of_the_fitted_pipelines(tmp_path):
    """Plain arrays stand in for scikit-learn's steps when a design is made: every column, gap and category."""
    rng = np.random.default_rng(5)
    subjects = pd.Index([f"s{number:03d}" for number in range(300)], dtype=object)
    frame = pd.DataFrame(
        {
            "plain": rng.normal(size=300),
            "gaps": np.where(rng.random(300) < 0.3, np.nan, rng.lognormal(0, 2, 300)),
            "count": pd.array(rng.integers(0, 40, 300), dtype="Int64"),
            "flag": pd.array(rng.random(300) < 0.4, dtype="boolean"),
            "text": rng.choice(["a", "b", "other", "rarely"], 300, p=[0.5, 0.3, 0.18, 0.02]),
            "level": pd.Categorical(rng.choice([1, 2, 3], 300)),
        },
        index=subjects,
    )
    frame.loc[frame.index[::7], ["count", "flag", "text"]] = None
    constant = pd.DataFrame({"same": 1.0}, index=subjects)
    tables = [
        FeatureTable("one", "ehr", frame, categorical=("text", "level")),
        FeatureTable("two", "ecg", frame[["plain"]].iloc[50:] ** 2),
        FeatureTable("three", "image", constant),
    ]
    fitted = DesignMatrix().fit(tables, subjects[:200])
    asked = subjects[40:].append(pd.Index(["elsewhere"], dtype=object))
    unseen = frame.copy()
    unseen.loc[unseen.index[250:], "text"] = "new"
    unseen.loc[unseen.index[260:], "plain"] = [np.nan, 1e9] * 20
    tables[0] = FeatureTable("one", "ehr", unseen, categorical=("text", "level"))
    design = fitted.design(tables, asked)
    found = design.frame()
    for group, table in zip(design.groups[:2], tables[:2], strict=True):
        has = asked.isin(table.frame.index)
        pipeline = fitted.transformers_[group.modality]
        raw = table.frame.reindex(asked[has]).add_prefix(f"{table.name}.")[list(pipeline.feature_names_in_)]
        expected = np.asarray(pipeline.transform(as_columns(raw, fitted.categories_[group.modality])))
        columns = [design.columns[place] for place in group.columns]
        np.testing.assert_array_equal(found.loc[has, columns], expected)
        assert (found.loc[~has, columns] == 0).all(axis=None)
    assert "one.text=new" not in design.columns
    assert {"one.text=other", "one.gaps=missing", "one.level=1"} <= set(design.columns)
    assert not design.groups[2].columns
    np.testing.assert_array_equal(found["has_ecg"], asked.isin(tables[1].frame.index))
    again = stored_again(fitted, tmp_path).design(tables, asked)
    pd.testing.assert_frame_equal(again.frame(), found, check_exact=True)
