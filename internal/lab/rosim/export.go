package rosim

func runExport(*run, *call) (value, error) {
	return value{}, &problem{text: "failure: not yet"}
}
