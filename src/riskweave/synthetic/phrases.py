"""Phrases of the demo cohort's clinical notes: graded findings, and sentences without meaning for the outcome.

A graded finding has levels from the least to the most severe; within a level the wordings mean the same. Some deny a
finding with the words that others state it with, and some sentences without meaning use them too, so that single words
do not tell everything.
"""

__all__ = ["CLOSINGS", "DISTRACTORS", "FAMILY", "GRADED", "HEADINGS", "OPENINGS", "SINCE_TARGET"]

GRADED = {
    "angina": (
        (  # symptoms
            ("No chest pain or tightness of any kind.", "Entirely free of chest discomfort.", "Denies chest pain."),
            ("An odd twinge under the ribs, not related to effort.",
             "Fleeting pricks beside the sternum, never on effort."),
            ("Occasional tightness when hurrying uphill, perhaps monthly.",
             "Mild pressure on steep hills only, monthly."),
            ("Chest tightness on brisk walking most weeks, settles at once on stopping.",
             "Weekly retrosternal pressure when walking briskly."),
            ("Constricting chest pain several times a week on climbing one flight of stairs.",
             "Heavy central chest pain on one flight of stairs, several times weekly."),
            ("Daily crushing chest pain with minimal effort, radiating to the left arm.",
             "Crushing central pain every day, at times at rest, with radiation to the jaw."),
        ),
        (  # nitrates
            ("Has never needed nitrates.", "No use of GTN spray.", "The GTN spray has expired unopened."),
            ("Carries a GTN spray, used once or twice this year.", "Glyceryl trinitrate used rarely, if at all."),
            ("Uses the GTN spray about twice a month.", "Needs glyceryl trinitrate a couple of times monthly."),
            ("Reaches for the GTN spray two or three times a week.",
             "Glyceryl trinitrate needed repeatedly each week."),
            ("Takes isosorbide and empties a GTN spray within a fortnight.",
             "Isosorbide mononitrate started, on top of sublingual glyceryl trinitrate every day."),
        ),
        (  # opinion
            ("Symptoms are non-cardiac; reassured.", "Impression: nothing to suggest coronary disease."),
            ("Impression: atypical discomfort, observe.", "Probably musculoskeletal; we shall watch it."),
            ("Impression: possible effort angina, well controlled.", "Stable angina, CCS class I."),
            ("Impression: typical angina, CCS class II; beta-blocker increased.", "Stable angina, CCS class II."),
            ("Impression: limiting angina, CCS class III; listed for angiography.",
             "Worrying crescendo pattern; urgent angiogram requested."),
        ),
    ),
    "frailty": (
        (  # mobility
            ("Cycles and swims; walks for hours without effort.", "Runs regularly, exercise tolerance unlimited."),
            ("Walks three miles on the flat with ease.", "Gardens and walks the dog twice a day."),
            ("Manages a mile at a gentle pace.", "Walks to the shops and back, slowly but unaided."),
            ("Gets breathless after two hundred yards; rests once on the way to the shops.",
             "Has slowed down and stops after a few hundred yards."),
            ("Walks with a stick, hardly beyond the front gate.",
             "Needs a stick and furniture to get about the house."),
            ("Uses a frame indoors and a wheelchair outside.", "Chairbound for most of the day; transfers with help."),
        ),
        (  # functional class
            ("Functional class NYHA I.", "NYHA class one."),
            ("Functional class between NYHA I and II.", "NYHA class one to two."),
            ("Functional class NYHA II.", "NYHA class two."),
            ("Functional class NYHA III.", "NYHA class three."),
            ("Functional class NYHA IV.", "NYHA class four."),
        ),
        (  # daily living
            ("Fully independent, still works part-time.", "Lives independently and helps with the grandchildren."),
            ("Independent in daily life; a neighbour does the heavy shopping.",
             "Copes alone apart from heavy housework."),
            ("Needs help with cleaning and laundry.", "A daughter comes in twice a week to help."),
            ("Carers visit every morning for washing and dressing.",
             "Two falls since the last visit; carers attend daily."),
            ("Moved to a nursing home; dependent for all personal care.",
             "Bedbound at times, losing weight, needs full nursing care."),
        ),
    ),
}  # fmt: skip

FAMILY = (
    (
        "No family history of heart disease.",
        "Nobody in the family had a heart attack before old age.",
        "Parents lived past ninety; no premature coronary disease among relatives.",
    ),
    (
        "Father died of a heart attack aged 49.",
        "Strong family history: two brothers had infarctions in their forties.",
        "Mother had premature coronary disease with bypass surgery at 52.",
    ),
)

OPENINGS = (
    "Thank you for referring this patient, whom I reviewed today.",
    "Seen in clinic for routine follow-up.",
    "Telephone review.",
    "Attended today together with a relative.",
    "Reviewed at the request of the practice nurse.",
    "Annual check.",
)

DISTRACTORS = (
    "Chest clear on auscultation.",
    "A chest infection last winter has settled completely.",
    "The chest film was not repeated.",
    "Hay fever troubles the patient every spring.",
    "Complains of pain in the left knee after kneeling.",
    "Shoulder pain on lifting the right arm, physiotherapy arranged.",
    "Mother has osteoarthritis of both hips.",
    "Father had cataract surgery.",
    "A sister is treated for an underactive thyroid.",
    "Influenza vaccination given.",
    "Bowels regular, appetite good.",
    "Sleeps six to seven hours.",
    "Returned from a holiday by the sea last month.",
    "Wears new reading glasses.",
    "Hearing aid adjusted in March.",
    "No palpitations, no syncope.",
    "No ankle swelling.",
    "No fever, no night sweats.",
    "Skin unremarkable apart from dry patches at the elbows.",
    "Paracetamol as needed for backache.",
    "Takes omeprazole for heartburn, which has improved.",
    "Vitamin D continued.",
    "Blood was taken for the usual tests.",
    "Blood pressure as charted.",
    "Weight as charted.",
    "Dentist attended twice a year.",
    "Allergic to penicillin (rash).",
    "No known allergies.",
    "The repeat prescription was printed.",
    "Asked about travel insurance; form completed.",
    "A neighbour had a heart attack, which has worried the patient.",
    "Stairs at home were fitted with a second rail by the landlord.",
)

CLOSINGS = (
    "Follow-up as arranged.",
    "We shall see the patient again in six months.",
    "Discharged to the care of the general practitioner.",
    "Letter dictated but not signed.",
    "Copy to the patient.",
    "Results to follow.",
)

HEADINGS = (
    {"history": "History:", "examination": "Examination:", "plan": "Plan:"},
    {"history": "Hx -", "examination": "O/E -", "plan": "Rx -"},
    {},
)
"""Headings by style of the writer; the last style has none."""

SINCE_TARGET = (
    "Admitted with an acute myocardial infarction since the last visit.",
    "Had a heart attack since we last met; stent to the left anterior descending artery.",
)
"""What notes after the target event may say: no prediction may read them."""
