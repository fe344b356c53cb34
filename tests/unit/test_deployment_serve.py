# ruff: noqa: F811 - fixtures are imported by name
"""The server: answers as the module does, and describes itself truly."""

import concurrent.futures
import json
import re
import statistics
import time
import warnings

import jsonschema
import pytest
from deployed_bundle import GOOD, LAB, Sent, ecg_files, patient, picture
from deployed_server import JSON, ask, bundle, form, made, post, post_form, server  # noqa: F401 - fixtures
from page_visit import browser, needs_browser  # noqa: F401 - a fixture

from riskweave.deployment.runtime import api as interface
from riskweave.deployment.runtime.multipart import FormError, parse_form
from riskweave.deployment.runtime.pool import Budget, BusyError, Pool
from riskweave.deployment.runtime.serve import ServeError, serve


@pytest.fixture
def expected(made):
    """Return a function from a patient to what the module itself predicts."""

    def predict(patient):
        made[1].module.set_patient(patient)
        return made[1].module.predict().as_dict()

    return predict


# Answers


def test_answers_as_the_module_does(server, made, expected):
    patients = [each["patient"] for each in made[1].golden["patients"]]
    for each in patients:
        assert post(server, json.dumps(each)) == (200, expected(each))


def test_takes_recordings_in_a_form(server, made, tmp_path):
    from riskweave.deployment.runtime.readers import parse_ecg, parse_image

    files = ecg_files(tmp_path)
    status, told = post_form(server, Sent(files=files, image=picture()))
    module = made[1].module
    module.set_patient({"values": GOOD})
    module.set_ecg(*parse_ecg(files))
    module.set_image(parse_image(picture()))
    assert (status, told) == (200, module.predict().as_dict())
    assert told["absent"] == []


def test_takes_a_table_and_its_rate(server):
    rows = "\n".join(f"{0.001 * (place % 350)},{0.002 * (place % 350)}" for place in range(5000))
    sent = Sent(files={"ecg.csv": f"I,II\n{rows}\n".encode()})
    status, told = post_form(server, sent, ecg_rate=b"500")
    assert status == 200
    assert "10 of 12 leads are not in the recording" in told["warnings"][-1]["message"]
    status, told = post_form(server, sent, ecg_rate=b"fast")
    assert status == 400
    assert "`ecg_rate` is a number" in told["errors"][0]["message"]


def test_passes_over_files_that_a_browser_did_not_send(server):
    body, headers = form(Sent(files={"": b""}), ecg_rate=b"")
    assert post(server, body, headers=headers)[0] == 200


def test_gives_a_risk_assessment(server):
    path = "/predict?format=fhir&date=2026-03-01&language=de"
    status, headers, body = ask(server, "POST", path, patient(events=[LAB]).patient, JSON)
    told = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, "application/fhir+json")
    assert told["resourceType"] == "RiskAssessment"
    assert told["prediction"][0]["whenPeriod"] == {"start": "2026-03-01", "end": "2029-03-01"}
    assert told["note"][0]["text"] == "Nur für die Forschung. Kein Medizinprodukt."


def test_tells_who_the_model_is(server, bundle):
    assert json.loads(ask(server, path="/health")[2]) == {"status": "ok", "fingerprint": bundle.fingerprint}
    told = json.loads(ask(server, path="/model")[2])
    assert told == {"schema": bundle.schema, "manifest": bundle.manifest}


def test_many_at_once_get_each_their_own(server, expected):
    patients = [{"values": {"age": 45 + place, "sex": ("male", "female")[place % 2]}} for place in range(24)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda each: post(server, json.dumps(each)), patients))
    assert found == [(200, expected(each)) for each in patients]


# The description and the page


def test_the_description_is_openapi(server):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = pytest.importorskip("fastapi.openapi.models")
    told = json.loads(ask(server, path="/openapi.json")[2])
    models.OpenAPI.model_validate(told)
    assert told["openapi"] == "3.1.0"
    for schema in told["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    references = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(told)))
    assert references == set(told["components"]["schemas"])
    routes = {(path, method.upper()) for path, methods in told["paths"].items() for method in methods}
    assert routes == {(path, methods[0]) for path, methods in interface.ROUTES.items() if path != "/"}


def test_requests_and_answers_are_what_the_description_says(server, made):
    told = json.loads(ask(server, path="/openapi.json")[2])

    def check(content, name):
        schema = {"$ref": f"#/components/schemas/{name}", "components": told["components"]}
        jsonschema.validate(content, schema, jsonschema.Draft202012Validator)

    for each in made[1].golden["patients"]:
        check(each["patient"], "Patient")
        check(post(server, json.dumps(each["patient"]))[1], "Result")
    check(post(server, patient().patient, "/predict?format=fhir")[1], "RiskAssessment")
    check(post(server, b"{}")[1], "Errors")
    check(json.loads(ask(server, path="/model")[2]), "Model")
    check(json.loads(ask(server, path="/health")[2]), "Health")
    for values in ({"sex": "male"}, {"age": 500, "sex": "male"}, {"age": 50, "sex": "M"}):
        with pytest.raises(jsonschema.ValidationError):
            check({"values": values}, "Patient")


def test_the_page_reaches_nothing_else(server):
    status, headers, body = ask(server)
    page = body.decode()
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'" in policy
    assert not re.search(r"<script|<link|https?://|@import|url\(", page)
    assert "Creatinine in serum" in page
    assert 'name="patient"' in page


@needs_browser
def test_the_form_works_in_a_browser(server, expected, browser):
    """Under the page's own policy, and with the headers that a browser adds to forms."""
    page = browser.new_page()
    faults = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto(server.url)
    assert page.locator("h1").evaluate("each => getComputedStyle(each).fontFamily").startswith("system-ui")
    page.fill("textarea", json.dumps({"values": GOOD}))
    page.click("button")
    assert json.loads(page.inner_text("body")) == expected({"values": GOOD})
    page.go_back()
    page.fill("textarea", "{")
    page.click("button")
    assert "it is no JSON" in page.inner_text("body")
    # The second answer is an error by its status, which a browser notes; and it asks for an icon.
    assert [line for line in faults if "status of 4" not in line] == []
    page.close()


def test_head_sends_no_body(server):
    status, headers, body = ask(server, "HEAD", "/health")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


def test_headers_keep_answers_to_those_who_asked(server):
    for path in ("/", "/health", "/nothing"):
        _, headers, _ = ask(server, path=path, headers={"Origin": "https://evil.example"})
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
        assert "Python" not in headers["Server"]


# Parts


def test_a_pool_lends_each_module_once(bundle):
    made = []
    pool = Pool(bundle.module, lambda: made.append(bundle.another()) or made[-1], size=2)
    with pool.module(1) as first:
        assert first is bundle.module
        with pool.module(1) as second:
            assert second is made[0]
            with pytest.raises(BusyError), pool.module(0.05):
                pass
    with pool.module(1) as again:
        assert again is first
    assert len(made) == 1


def test_a_budget_waits_for_what_is_given_back():
    budget = Budget(10)
    with budget.held(7, 1), pytest.raises(BusyError), budget.held(4, 0.05):
        pass
    with budget.held(10, 0.05):
        pass


@pytest.mark.parametrize("line", ["\r\n", "\n", "\r", "--x", "\r\n--", ""])
def test_forms_keep_every_byte(line):
    data = bytes(range(256)) + line.encode() + b"\0"
    body, headers = form(Sent(data, files={"ä b.dat": data}))
    parts = parse_form(body, headers["Content-Type"])
    assert [(part.name, part.filename, part.data) for part in parts] == [
        ("patient", None, data),
        ("ecg", "ä b.dat", data),
    ]


def test_forms_of_many_parts_are_refused():
    part = b'--y\r\nContent-Disposition: form-data; name="ecg"\r\n\r\n\r\n'
    with pytest.raises(FormError, match="more than 32 parts"):
        parse_form(part * 33 + b"--y--\r\n", "multipart/form-data; boundary=y")


# Starting


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "ward-7.example"])
def test_other_machines_reach_it_only_when_asked_for(host, bundle):
    with pytest.raises(ServeError, match="--allow-remote"):
        serve(bundle, host=host, port=0)


def test_a_port_that_is_taken(server, bundle):
    with pytest.raises(ServeError, match="Try another --port"):
        serve(bundle, host="127.0.0.1", port=server.server_port)
    with pytest.raises(ServeError, match="workers are allowed"):
        serve(bundle, host="127.0.0.1", port=0, workers=0)


def test_a_request_costs_little_more_than_the_prediction(server, expected, capsys):
    """A loose bound: machines are busy. The figures are printed with ``pytest -s``."""
    given = {"values": GOOD, "events": [LAB]}
    body = json.dumps(given)

    def median(call):
        spent = []
        for _ in range(30):
            started = time.perf_counter()
            call()
            spent.append(1000 * (time.perf_counter() - started))
        return statistics.median(spent)

    alone, served = median(lambda: expected(given)), median(lambda: post(server, body))
    with capsys.disabled():
        print(f"\nmodule.predict {alone:.2f} ms, POST /predict {served:.2f} ms")
    assert served < alone + 250
