# Networks of other libraries, of files of your own, and with weights from elsewhere. Reads data/train.safetensors and files of
# weights; downloads published ones to downloads/weights/, tries every row on a few images before it is trained, and writes
# data/networks.json and tables/networks. Without such networks there are none of these rules.
#
# A training waits for the check of its own row alone, and nothing of a check's recipe can change without that of the training:
# editing one network retrains no other. (A single check of all networks would have to be an `ancient` input; where it runs
# again, Snakemake does not look for other changes of the jobs after it, and where it fails, it removes what they wait for.)

if PUBLISHED:

    use rule light as download_weights with:
        output:
            weights=f"{DOWNLOADS}/{{weights}}.safetensors",
        pathvars:
            job="download_weights/{weights}",
        wildcard_constraints:
            weights=one_of(PUBLISHED),
        localrule: True
        params:
            **stage(lambda wc: recipes.download_weights(PUBLISHED[wc.weights])),


if CHECKED:
    targets += tables("networks")
    targets.append(f"{RESULTS}/data/networks.json")

    use rule evaluation as check_networks with:
        input:
            train=TRAIN_IMAGES,
            checked=lambda wc: CHECKED[wc.row].downloads,
        output:
            networks=f"{RESULTS}/data/networks/{{row}}.json",
        pathvars:
            job="check_networks/{row}",
        wildcard_constraints:
            row=one_of(CHECKED),
        # a mistake should show before anything is trained
        priority: 100
        resources:
            **asks(EVALUATE, 0),
        params:
            **stage(lambda wc: CHECKED[wc.row].recipe),
            files=with_options(weights=lambda wc: CHECKED[wc.row].weights),

    use rule light as list_networks with:
        input:
            networks=expand(f"{RESULTS}/data/networks/{{row}}.json", row=CHECKED),
        output:
            **table("networks", "supplements", "Networks: layers, parameters and operations"),
            json=f"{RESULTS}/data/networks.json",
        pathvars:
            job="list_networks",
        localrule: True
        params:
            **stage(recipes.list_networks()),
